// Made of csrc/ops/permute.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `permute`.
 *
 * Token rows grouped by expert, as `topK` has placed them.
 *
 * ```text
 * out[rows[t, k], :] = scale * x[t, :]   for each slot that has a row
 * ```
 */
export interface PermuteInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [T, K] i32, distinct; -1: none */
  rows: Tensor
  scale?: number | undefined
}

/** What the op `permute` makes. */
export interface PermuteOutputs {
  /** [T * K, H] dtype of x; rows that no slot has are not written */
  out: Tensor
}

/** Token rows grouped by expert, as `topK` has placed them. */
export function permute(plan: Plan, inputs: PermuteInputs): PermuteOutputs {
  return plan.record('permute', inputs) as PermuteOutputs
}
