import type { ChunkResult } from './chunk.ts'

/** One layer's expert choice, row-major. */
export interface LayerRouting {
  /** [tokens, topK], best first */
  expertIds: Int32Array
  /** [tokens, topK] */
  weights: Float32Array
  /** [tokens, experts], before softmax and norm; for MoE++ the accumulated logits that are carried on */
  logits: Float32Array
}

/** What a chunk's last token of `rows` chose, apart from the memory of its step. */
export function lastRow(
  layers: readonly (LayerRouting | undefined)[],
  rows: number,
): (LayerRouting | undefined)[] {
  const last = <T extends Float32Array | Int32Array>(all: T): T =>
    all.slice((all.length / rows) * (rows - 1)) as T
  return layers.map(
    (layer) =>
      layer && {
        expertIds: last(layer.expertIds),
        weights: last(layer.weights),
        logits: last(layer.logits),
      },
  )
}

/** Joins the pieces that one job's steps return. */
export class Rows {
  readonly #pieces: { [key: string]: (Float32Array | Int32Array)[] } = {}

  add(key: string, piece: Float32Array | Int32Array, skipRows: number, rows: number): void {
    const width = piece.length / rows
    const wanted = piece.subarray(skipRows * width)
    const pieces = this.#pieces[key]
    if (pieces) pieces.push(wanted)
    else this.#pieces[key] = [wanted]
  }

  has(key: string): boolean {
    return key in this.#pieces
  }

  join<T extends Float32Array | Int32Array>(key: string, type: new (n: number) => T): T {
    const pieces = (this.#pieces[key] ?? []) as T[]
    // A copy also where there is one piece: it may be a view of a whole batch's memory.
    const out = new type(pieces.reduce((n, piece) => n + piece.length, 0))
    let at = 0
    for (const piece of pieces) {
      out.set(piece as Float32Array & Int32Array, at)
      at += piece.length
    }
    return out
  }
}

/** Collects hidden states and routing over the steps of a job. */
export class TraceRows {
  readonly #rows = new Rows()
  readonly #numLayers: number

  constructor(numLayers: number) {
    this.#numLayers = numLayers
  }

  /** Adds a chunk's `rows` rows but for the first `skip`. */
  add({ hiddenStates, routing }: ChunkResult, skip: number, rows: number): void {
    for (const [l, layer] of (hiddenStates ?? []).entries())
      this.#rows.add(`hidden ${l}`, layer, skip, rows)
    for (const [l, layer] of (routing ?? []).entries())
      for (const key of ['expertIds', 'weights', 'logits'] as const)
        if (layer) this.#rows.add(`${key} ${l}`, layer[key], skip, rows)
  }

  hiddenStates(): Float32Array[] {
    return Array.from({ length: this.#numLayers }, (_, l) =>
      this.#rows.join(`hidden ${l}`, Float32Array),
    )
  }

  routing(): (LayerRouting | undefined)[] {
    return Array.from({ length: this.#numLayers }, (_, l) => {
      if (!this.#rows.has(`expertIds ${l}`)) return undefined
      return {
        expertIds: this.#rows.join(`expertIds ${l}`, Int32Array),
        weights: this.#rows.join(`weights ${l}`, Float32Array),
        logits: this.#rows.join(`logits ${l}`, Float32Array),
      }
    })
  }
}
