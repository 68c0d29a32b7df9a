import type { LayerInfo, Step } from '../layers/step.ts'
import type { VisibilityRules } from '../layers/visibility.ts'
import type { Tensor } from '../native.ts'
import type { RopeRounding } from '../weights/weights.ts'
import type { ModelConfig } from './config.ts'

/** Load options that concern the mathematics. */
export interface GraphOptions {
  ropeTheta?: number | undefined
  ropeTable?: RopeRounding | undefined
}

/** A model graph: built once from weights, recorded once per shape of a step. */
export interface Architecture {
  readonly config: ModelConfig
  readonly layers: readonly LayerInfo[]
  /** What attention may see, by the names that layers use. */
  readonly visibility: VisibilityRules
  /** Records the pass; returns logits [R, V] f32 of `step.logitRows`. */
  forward(step: Step): Tensor | undefined
}
