// Made of csrc/ops/rms_norm.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `rmsNorm`.
 *
 * Root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
 *
 * ```text
 * out[t, h] = x[t, h] / sqrt(mean_h(x[t, h]^2) + eps) * weight[h]
 * ```
 *
 * A weight of D < H values norms each run of D values of a row by itself, as a norm of heads does.
 * Statistics and product in f32; rounded once, to `dtype`. With `keepF32` also without rounding,
 * for who reads both.
 */
export interface RmsNormInputs {
  /** [T, H] f32 | bf16, may be a column slice */
  x: Tensor
  /** [D] f32, H a multiple of D */
  weight: Tensor
  eps: number
  /** f32 | bf16 */
  dtype?: DType | undefined
  keepF32?: boolean | undefined
}

/** What the op `rmsNorm` makes. */
export interface RmsNormOutputs {
  /** [T, H] dtype */
  out: Tensor
  /** [T, H] f32, with keepF32 where out is rounded */
  exact?: Tensor | undefined
}

/** Root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4). */
export function rmsNorm(plan: Plan, inputs: RmsNormInputs): RmsNormOutputs {
  return plan.record('rmsNorm', inputs) as RmsNormOutputs
}
