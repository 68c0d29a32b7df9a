import type { Activation, ActivationDType, Plan, Tensor, Weight } from '../native.ts'

export interface LinearOptions {
  /** [N] f32 */
  bias?: Tensor
  /** [T, N] f32, added after the activation */
  residual?: Tensor
  activation?: Activation
}

/**
 * Dense projection: `activation(x W^T + bias) + residual`, sums in f32.
 *
 * @param x      [T, K] f32 | bf16, may be a column slice
 * @param weight [N, K] packed; gate_up for `swiglu`
 * @returns      [T, N] `dtype`; [T, N / 2] for `swiglu`
 */
export function linear(
  plan: Plan,
  x: Tensor,
  weight: Weight,
  dtype: ActivationDType,
  { bias, residual, activation = 'none' }: LinearOptions = {},
): Tensor {
  const N = weight.shape[0]!
  const out = plan.empty([x.shape[0]!, activation === 'swiglu' ? N / 2 : N], dtype)
  plan.linear(x, weight, bias, residual, out, activation)
  return out
}
