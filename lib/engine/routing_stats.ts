import type { LayerInfo } from '../layers/step.ts'
import { type Gpu, native, type Tensor } from '../native.ts'
import type { ExpertKind } from '../ops/index.ts'
import { expertColumns } from './experts.ts'

/** Options of `model.routingStats`. */
export interface RoutingStatsOptions {
  /** Begin to count anew. Default false. */
  reset?: boolean | undefined
}

/** How often experts were chosen. */
export interface RoutingStats {
  /** One a layer, undefined for a layer without a router. */
  layers: (LayerRoutingStats | undefined)[]
}

/** How often the experts of one layer were chosen. */
export interface LayerRoutingStats {
  /** Of each expert, in the order of their ids. */
  kinds: readonly ExpertKind[]
  /** Experts that a token chooses. */
  topK: number
  /** Whether beside them is a block that every token passes: shared experts. */
  shared: boolean
  /** Tokens that the layer has routed. */
  tokens: number
  /** Tokens that each expert was chosen for; their sum is topK * tokens. */
  tokensPerExpert: Float64Array
}

/** Counters of all layers in one tensor, which the steps' plans count in. */
export class RoutingCounts {
  readonly tensor: Tensor
  readonly #layers: readonly LayerInfo[]
  readonly #experts: number
  /** What had been counted at the last reset. */
  #before: Float64Array

  constructor(layers: readonly LayerInfo[], gpu: Gpu | undefined) {
    this.#layers = layers
    this.#experts = expertColumns(layers).all
    this.#before = new Float64Array(this.#experts)
    const zeros = new Int32Array(2 * Math.max(1, this.#experts))
    this.tensor = native().tensorFrom(zeros, [zeros.length], 'i32', gpu)
  }

  /** The counters [E, 2] of each layer. */
  ofLayers(): (Tensor | undefined)[] {
    return expertColumns(this.#layers).of.map(
      (columns) => columns && this.tensor.view(2 * columns.start, [columns.count, 2], 'i32'),
    )
  }

  /** @param words the tensor's numbers, as they were between two steps */
  read(words: Int32Array, reset: boolean): RoutingStats {
    const counted = Float64Array.from(
      { length: this.#experts },
      (_, e) => (words[2 * e]! >>> 0) + 2 ** 32 * (words[2 * e + 1]! >>> 0),
    )
    const since = counted.map((count, e) => count - this.#before[e]!)
    if (reset) this.#before = counted
    const { of } = expertColumns(this.#layers)
    const layers = this.#layers.map(({ experts }, l) => {
      const columns = of[l]
      if (!experts || !columns) return undefined
      const { start, count } = columns
      const tokensPerExpert = since.slice(start, start + count)
      const chosen = tokensPerExpert.reduce((sum, tokens) => sum + tokens, 0)
      const { kinds, topK, shared = false } = experts
      return { kinds: [...kinds], topK, shared, tokens: chosen / topK, tokensPerExpert }
    })
    return { layers }
  }
}
