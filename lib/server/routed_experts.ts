import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import type { LayerRouting } from '../engine/trace.ts'

/** Stands for the experts of a layer without a router, and beyond those that a layer chooses. */
const none = 0xffff

type Layers = readonly (LayerRouting | undefined)[]

/** Where tokens went: [tokens, layers, K] in base64, u16 ids and f32 weights, little-endian. K is the most of any layer. */
export interface RoutedExperts {
  routed_experts: string
  routed_weights: string
}

const base64 = ({ buffer }: Uint16Array | Float32Array): string =>
  Buffer.from(buffer as ArrayBuffer).toString('base64')

/** @param chosen experts that a token chooses in each layer */
function pack(layers: Layers, chosen: readonly number[], from: number, to: number): RoutedExperts {
  const most = Math.max(0, ...chosen)
  const experts = new Uint16Array((to - from) * layers.length * most).fill(none)
  const weights = new Float32Array(experts.length)
  for (const [l, layer] of layers.entries())
    for (let t = from; layer && t < to; t++) {
      const [start, end] = [t * chosen[l]!, (t + 1) * chosen[l]!]
      const at = ((t - from) * layers.length + l) * most
      experts.set(layer.expertIds.subarray(start, end), at)
      weights.set(layer.weights.subarray(start, end), at)
    }
  return { routed_experts: base64(experts), routed_weights: base64(weights) }
}

/** The routing of an answer's new tokens, where it is asked for. A token's is known when the one behind it is. */
export class Routed {
  readonly #asked: boolean
  /** Of each choice: experts chosen in each layer, and rows told. */
  readonly #choices: { chosen: number[]; told: number }[] = []

  constructor(asked: boolean) {
    this.#asked = asked
  }

  /** With a token's event goes the row of the one before it; before the first comes the prompt, which is not told. */
  piece(index: number, { routing }: GenerateChunk): RoutedExperts | undefined {
    if (!this.#asked || !routing) return undefined
    const known = this.#choices[index]
    const choice = { chosen: chosenIn(routing), told: known ? known.told + 1 : 0 }
    this.#choices[index] = choice
    return known && pack(routing, choice.chosen, 0, 1)
  }

  /** What no event has told: the row of a token behind which only the end came. */
  rest(index: number, { routing }: GenerateResult): RoutedExperts | undefined {
    const { chosen = [], told = 0 } = this.#choices[index] ?? {}
    if (!this.#asked || !routing) return undefined
    return pack(routing, chosen, told, rowsOf(routing, chosen))
  }

  whole({ routing }: GenerateResult, [first]: GenerateChunk[]): RoutedExperts | undefined {
    if (!this.#asked || !routing) return undefined
    const chosen = chosenIn(first?.routing ?? [])
    return pack(routing, chosen, 0, rowsOf(routing, chosen))
  }
}

const chosenIn = (row: Layers): number[] => row.map((layer) => layer?.expertIds.length ?? 0)

function rowsOf(layers: Layers, chosen: readonly number[]): number {
  const l = chosen.findIndex((k) => k > 0)
  return l < 0 ? 0 : layers[l]!.expertIds.length / chosen[l]!
}
