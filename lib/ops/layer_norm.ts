// Made of csrc/ops/layer_norm.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `layerNorm`.
 *
 * Layer norm (Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4).
 *
 * ```text
 * out[t, h] = (x[t, h] - mean) / sqrt(variance + eps) * weight[h] + bias[h]
 * ```
 *
 * The variance is the mean of the squared differences (divided by H, not H - 1). A weight of D < H
 * values norms each run of D values of a row by itself, as a norm of heads does. Statistics and
 * product in f32; rounded once, to `dtype`.
 */
export interface LayerNormInputs {
  /** [T, H] f32 | bf16, may be a column slice */
  x: Tensor
  /** [D] f32, H a multiple of D */
  weight: Tensor
  /** [D] f32 */
  bias?: Tensor | undefined
  eps: number
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `layerNorm` makes. */
export interface LayerNormOutputs {
  /** [T, H] dtype */
  out: Tensor
}

/** Layer norm (Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4). */
export function layerNorm(plan: Plan, inputs: LayerNormInputs): LayerNormOutputs {
  return plan.record('layerNorm', inputs) as LayerNormOutputs
}
