import type { ActivationDType, Plan, Tensor } from '../native.ts'
import type { Routing } from '../routers/router.ts'
import type { RopeRounding } from '../weights/weights.ts'
import type { ModelConfig } from './config.ts'

/** Load options that concern the mathematics. */
export interface GraphOptions {
  /** Positions the rotary tables must cover. */
  maxTokens: number
  ropeTheta?: number | undefined
  ropeTable?: RopeRounding | undefined
}

/** What one layer keeps between steps, in cache blocks. */
export interface LayerCache {
  keys: Tensor
  values: Tensor
  /** For each of `config.stateWidths`, one row a block. */
  states: Tensor[]
}

/** Collects what a caller wants to see of the inside. */
export interface Trace {
  hiddenStates: Tensor[]
  routing: Routing[]
}

/**
 * The inputs of one forward pass: T tokens of B sequences, one after the other, prefill chunks and decode
 * tokens mixed, without padding.
 */
export interface Step {
  plan: Plan
  /** Activations other than the residual stream, router logits and logits, which are f32. */
  dtype: ActivationDType
  ids: Tensor
  positions: Tensor
  slots: Tensor
  starts: Tensor
  sequences: Tensor
  blockTable: Tensor
  /** Tokens whose logits are wanted; absent: none. */
  logitRows: Tensor | undefined
  cache: LayerCache[]
  trace: Trace
}

/** A model graph: built once from weights, recorded once per shape of a step. */
export interface Architecture {
  readonly config: ModelConfig
  /** First position that the token at `position` sees, given that of the token before it and its id. */
  firstVisible(position: number, previousFirst: number, previousId: number | undefined): number
  /** Records the pass; returns logits [R, V] f32 of `step.logitRows`. */
  forward(step: Step): Tensor | undefined
}
