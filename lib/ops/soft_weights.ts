// Made of csrc/ops/soft_weights.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `softWeights`.
 *
 * The two softmaxes of Soft MoE (arXiv:2308.00951, equations 1 and 2): what a slot takes of each
 * token of its segment, and what a token takes of each slot.
 *
 * ```text
 * dispatch[t, s] = exp(z[t, s]) / sum over tokens t' of the segment of exp(z[t', s])
 * combine[t, s] = exp(z[t, s]) / sum over slots s' of exp(z[t, s'])    z = logits
 * ```
 */
export interface SoftWeightsInputs {
  /** [T, S] f32, of S = experts * slots of an expert */
  logits: Tensor
  /** [B + 1] i32, from 0 to T: tokens that are mixed */
  segments: Tensor
}

/** What the op `softWeights` makes. */
export interface SoftWeightsOutputs {
  /** [T, S] f32 */
  dispatch: Tensor
  /** [T, S] f32 */
  combine: Tensor
}

/**
 * The two softmaxes of Soft MoE (arXiv:2308.00951, equations 1 and 2): what a slot takes of each
 * token of its segment, and what a token takes of each slot.
 */
export function softWeights(plan: Plan, inputs: SoftWeightsInputs): SoftWeightsOutputs {
  return plan.record('softWeights', inputs) as SoftWeightsOutputs
}
