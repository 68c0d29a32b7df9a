// Made of csrc/ops/grouped_gemm.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor, Weight } from '../native.ts'
import type { Activation } from './names.ts'

/**
 * Fields of the op `groupedGemm`.
 *
 * One GEMM per expert over rows grouped by expert (Shazeer et al. 2017, arXiv:1701.06538).
 *
 * ```text
 * out[r, :] = activation(x[r, :] W_g^T + b_g)  for offsets[g] <= r < offsets[g + 1]
 * ```
 *
 * Weights come one per expert, so that they can live anywhere. Sums in f32. Rows at and beyond
 * offsets[G] are not touched. `activation`, `limit` and `alpha` are those of linear.
 */
export interface GroupedGemmInputs {
  /** [R, K] f32 | bf16 */
  x: Tensor
  /** [G + 1] i32 */
  offsets: Tensor
  /** G times [N, K] of one format; gate_up for gated activations */
  weights: readonly Weight[]
  /** [G, N] f32; gate rows, then up rows for gate_up */
  biases?: Tensor | undefined
  activation?: Activation | undefined
  /** of swigluClamped, above 0 */
  limit?: number | undefined
  /** of swigluClamped */
  alpha?: number | undefined
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `groupedGemm` makes. */
export interface GroupedGemmOutputs {
  /** [R, N] ([R, N / 2] for gate_up) dtype */
  out: Tensor
}

/** One GEMM per expert over rows grouped by expert (Shazeer et al. 2017, arXiv:1701.06538). */
export function groupedGemm(plan: Plan, inputs: GroupedGemmInputs): GroupedGemmOutputs {
  return plan.record('groupedGemm', inputs) as GroupedGemmOutputs
}
