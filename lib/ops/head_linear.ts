// Made of csrc/ops/head_linear.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor, Weight } from '../native.ts'

/**
 * Fields of the op `headLinear`.
 *
 * A projection of its own for each head, as the two halves of an absorbed key/value projection are
 * (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.2).
 *
 * ```text
 * out[t, n, :] = W_n x[t, n, D - K :]
 * ```
 *
 * Of a head's D values the last K are read: what comes before is its rotated part. Sums in f32.
 * It is the grouped GEMM with heads as groups, of which each has all tokens.
 */
export interface HeadLinearInputs {
  /** [T, N * D] f32 | bf16, may be a column slice */
  x: Tensor
  /** N times [O, K] of one format */
  weights: readonly Weight[]
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `headLinear` makes. */
export interface HeadLinearOutputs {
  /** [T, N * O] dtype */
  out: Tensor
}

/**
 * A projection of its own for each head, as the two halves of an absorbed key/value projection are
 * (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.2).
 */
export function headLinear(plan: Plan, inputs: HeadLinearInputs): HeadLinearOutputs {
  return plan.record('headLinear', inputs) as HeadLinearOutputs
}
