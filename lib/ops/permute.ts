// Made of csrc/ops/permute.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

export interface PermuteInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [T, K] i32, distinct; -1: none */
  rows: Tensor
  scale?: number | undefined
}

export interface PermuteOutputs {
  /** [T * K, H] dtype of x; rows that no slot has are not written */
  out: Tensor
}

/**
 * Token rows grouped by expert, as `topK` has placed them.
 *
 *   out[rows[t, k], :] = scale * x[t, :]   for each slot that has a row
 */
export function permute(plan: Plan, inputs: PermuteInputs): PermuteOutputs {
  return plan.record('permute', inputs) as PermuteOutputs
}
