import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { usesHistory } from './sampling.ts'
import { type Slice, tokensOf } from './slice.ts'

/** The tensors that a step's numbers are copied to. */
export interface StepTensors extends ops.SampleInputs {
  ids: Tensor
  positions: Tensor
  slots: Tensor
  starts: Tensor
  sequences: Tensor
  blockTable: Tensor
  logitRows: Tensor
}

type StepData = Record<keyof StepTensors, Int32Array | Float32Array>

export interface InputShape {
  tokens: number
  sequences: number
  drawn: number
  logitRows: number
}

/** Elements between which an input may begin: 64 bytes. */
const unit = 16

/**
 * Where a step's inputs lie in one list, so that all of them are one copy. The history comes last: its length is
 * no part of the shape.
 */
export class InputLayout {
  readonly #starts = {} as Record<keyof StepTensors, number>
  readonly #shapes: Record<keyof StepTensors, number[]>
  /** Elements up to the history's end. */
  readonly length: number

  constructor({ tokens, sequences, drawn, logitRows }: InputShape, numBlocks: number) {
    this.#shapes = {
      ids: [tokens],
      positions: [tokens],
      slots: [tokens],
      starts: [tokens],
      sequences: [tokens],
      logitRows: [drawn + logitRows],
      blockTable: [sequences, numBlocks],
      options: [drawn, ops.sampleOptions.length],
      counts: [drawn, ops.sampleCounts.length],
      historyOffsets: [drawn + 1],
      history: [numBlocks * ops.blockTokens], // drawing sequences share no blocks
    }
    let end = 0
    for (const [name, shape] of Object.entries(this.#shapes)) {
      this.#starts[name as keyof StepTensors] = end
      end += Math.ceil(shape.reduce((n, dim) => n * dim, 1) / unit) * unit
    }
    this.length = end
  }

  /** The inputs as parts of `list`. */
  views(list: Tensor): StepTensors {
    const parts = Object.entries(this.#shapes).map(([name, shape]) => {
      const dtype = name === 'options' ? 'f32' : 'i32'
      return [name, list.view(this.#starts[name as keyof StepTensors], shape, dtype)]
    })
    return Object.fromEntries(parts)
  }

  /** The numbers as they lie in the list. */
  pack(data: StepData): Int32Array {
    const packed = new Int32Array(this.#starts.history + data.history.length)
    for (const [name, array] of Object.entries(data)) {
      const bits = new Int32Array(array.buffer, array.byteOffset, array.length)
      packed.set(bits, this.#starts[name as keyof StepTensors])
    }
    return packed
  }
}

/** The numbers of one step, for each of its tensors. */
export function stepInputs(slices: Slice[], blocksPerSequence: number): StepData {
  const tokens = tokensOf(slices)
  const perToken = () => new Int32Array(tokens)
  const [ids, positions, slots, starts, sequences] = [
    perToken(),
    perToken(),
    perToken(),
    perToken(),
    perToken(),
  ]
  const blockTable = new Int32Array(slices.length * blocksPerSequence)
  const drawnRows: number[] = []
  const logitRows: number[] = []
  let t = 0
  for (const [s, { sequence, take, ahead, logitRows: rows, draw }] of slices.entries()) {
    blockTable.set(sequence.blocks, s * blocksPerSequence)
    for (let i = 0; i < take; i++, t++) {
      const position = (ahead ? sequence.ids.length : sequence.cached) + i
      const block = sequence.blocks[Math.floor(position / ops.blockTokens)]!
      ids[t] = sequence.ids[position] ?? 0
      positions[t] = position
      slots[t] = block * ops.blockTokens + (position % ops.blockTokens)
      starts[t] = sequence.firstAt(position)
      sequences[t] = s
    }
    for (let i = rows; i > 0; i--) logitRows.push(t - i)
    if (draw) drawnRows.push(t - 1)
  }
  const allRows = Int32Array.from([...drawnRows, ...logitRows])
  return {
    ids,
    positions,
    slots,
    starts,
    sequences,
    blockTable,
    logitRows: allRows,
    ...drawInputs(slices),
  }
}

function drawInputs(slices: Slice[]): Pick<StepData, keyof ops.SampleInputs> {
  const drawing = slices.filter((slice) => slice.draw)
  const options: number[] = []
  const counts: number[] = []
  const history: number[] = []
  const historyOffsets = [0]
  for (const { sequence, draw } of drawing) {
    const { sampling, step, promptLength } = draw!
    const named = {
      ...sampling,
      seedLow: (sampling.seed % 2 ** 32) | 0,
      seedHigh: Math.floor(sampling.seed / 2 ** 32),
      step,
      promptLength,
    }
    for (const name of ops.sampleOptions) options.push(named[name])
    for (const name of ops.sampleCounts) counts.push(named[name])
    if (usesHistory(sampling)) for (const id of sequence.ids) history.push(id)
    historyOffsets.push(history.length)
  }
  return {
    options: Float32Array.from(options),
    counts: Int32Array.from(counts),
    history: Int32Array.from(history),
    historyOffsets: Int32Array.from(historyOffsets),
  }
}
