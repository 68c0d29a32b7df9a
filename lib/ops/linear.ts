// Made of csrc/ops/linear.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor, Weight } from '../native.ts'
import type { Activation } from './names.ts'

/**
 * Fields of the op `linear`.
 *
 * Dense projection, sums in f32. It is the grouped GEMM with one group.
 *
 * ```text
 * out[t, :] = residual[t, :] + scale * rowScale[t] * activation(x[t, :] W^T + bias)
 * ```
 *
 * What is left out is not there: no residual, factors of 1. `swigluClamped` is
 * (u + 1) * g * sigmoid(alpha * g) with g = min(gate, limit) and u = up clamped to +-limit.
 */
export interface LinearInputs {
  /** [T, K] f32 | bf16, may be a column slice */
  x: Tensor
  /** [N, K]; gate_up for the gated activations */
  weight: Weight
  /** [N] f32; gate rows, then up rows for gate_up */
  bias?: Tensor | undefined
  /** [T, 1] f32, a factor of each row, may be a column slice */
  rowScale?: Tensor | undefined
  /** [T, N] f32 ([T, N / 2] for gate_up) */
  residual?: Tensor | undefined
  activation?: Activation | undefined
  /** of swigluClamped, above 0 */
  limit?: number | undefined
  /** of swigluClamped */
  alpha?: number | undefined
  /** factor of all rows */
  scale?: number | undefined
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `linear` makes. */
export interface LinearOutputs {
  /** [T, N] ([T, N / 2] for gate_up) dtype */
  out: Tensor
}

/** Dense projection, sums in f32. It is the grouped GEMM with one group. */
export function linear(plan: Plan, inputs: LinearInputs): LinearOutputs {
  return plan.record('linear', inputs) as LinearOutputs
}
