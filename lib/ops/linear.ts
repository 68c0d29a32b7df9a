// Made of csrc/ops/linear.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor, Weight } from '../native.ts'
import type { Activation } from './names.ts'

export interface LinearInputs {
  /** [T, K] f32 | bf16, may be a column slice */
  x: Tensor
  /** [N, K]; gate_up for swiglu */
  weight: Weight
  /** [N] f32; gate rows, then up rows for swiglu */
  bias?: Tensor | undefined
  /** [T, N] f32 */
  residual?: Tensor | undefined
  activation?: Activation | undefined
  /** f32 | bf16 */
  dtype?: DType | undefined
}

export interface LinearOutputs {
  /** [T, N] ([T, N / 2] for swiglu) dtype */
  out: Tensor
}

/**
 * Dense projection: out = activation(x W^T + bias) + residual, sums in f32.
 * It is the grouped GEMM with one group.
 */
export function linear(plan: Plan, inputs: LinearInputs): LinearOutputs {
  return plan.record('linear', inputs) as LinearOutputs
}
