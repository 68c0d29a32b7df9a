// Made of csrc/ops/soft_combine.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `softCombine`.
 *
 * What Soft MoE's experts return, mixed for each token, plus the residual stream
 * (arXiv:2308.00951, section 2.1). Rows as in softDispatch.
 *
 * ```text
 * out[t] = residual[t] + sum over slots s = e P + p, ascending, of
 *          weights[t, s] * expertOut[(e B + b) P + p], b the segment of t
 * ```
 */
export interface SoftCombineInputs {
  /** [E * B * P, H] f32 | bf16 */
  expertOut: Tensor
  /** [T, E * P] f32, `combine` of softWeights */
  weights: Tensor
  /** [B + 1] i32, from 0 to T: tokens that are mixed */
  segments: Tensor
  /** [T, H] f32 */
  residual: Tensor
  /** E */
  experts: number
}

/** What the op `softCombine` makes. */
export interface SoftCombineOutputs {
  /** [T, H] f32 */
  out: Tensor
}

/**
 * What Soft MoE's experts return, mixed for each token, plus the residual stream
 * (arXiv:2308.00951, section 2.1). Rows as in softDispatch.
 */
export function softCombine(plan: Plan, inputs: SoftCombineInputs): SoftCombineOutputs {
  return plan.record('softCombine', inputs) as SoftCombineOutputs
}
