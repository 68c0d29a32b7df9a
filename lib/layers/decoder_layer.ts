import type { Tensor } from '../native.ts'
import type { Routing } from '../routers/router.ts'
import type { Norm } from './norm.ts'
import type { Module } from './projection.ts'
import type {
  CacheSpecs,
  ExpertInfo,
  Layer,
  LayerCache,
  LayerOutput,
  Recording,
  Step,
} from './step.ts'

export interface Attention {
  readonly caches: CacheSpecs
  /** What adapters may add to; absent: nothing. */
  readonly modules?: readonly Module[]
  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(step: Step, x: Tensor, residual: Tensor, cache: LayerCache): Tensor
}

/** What follows attention: experts, or a dense block. */
export interface FeedForward {
  /** Undefined: dense. */
  readonly info?: ExpertInfo
  /** What adapters may add to; absent: nothing. */
  readonly modules?: readonly Module[]
  /** x [T, H], normed; residual [T, H] f32 -> residual + block(x) [T, H] */
  forward(step: Recording, x: Tensor, residual: Tensor, previous?: Routing): LayerOutput
}

export interface DecoderParts {
  inputNorm: Norm
  attention: Attention
  postNorm: Norm
  feedForward: FeedForward
}

/** Pre-norm decoder layer: attention, then experts or a dense block, each added to its input. */
export class DecoderLayer implements Layer {
  readonly caches: CacheSpecs
  readonly experts: ExpertInfo | undefined
  readonly modules: readonly Module[] | undefined
  readonly #parts: DecoderParts

  constructor(parts: DecoderParts) {
    this.#parts = parts
    this.caches = parts.attention.caches
    this.experts = parts.feedForward.info
    this.modules = parts.attention.modules
  }

  forward(step: Step, x: Tensor, cache: LayerCache, previous?: Routing): LayerOutput {
    const { inputNorm, attention, postNorm, feedForward } = this.#parts
    const h = attention.forward(step, inputNorm.forward(step, x), x, cache) // [T, H]
    return feedForward.forward(step, postNorm.forward(step, h), h, previous)
  }
}
