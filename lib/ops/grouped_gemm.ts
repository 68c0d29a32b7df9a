import type { Activation, ActivationDType, Plan, Tensor } from '../native.ts'

/**
 * One GEMM per expert over the rows that `permute` grouped: `out[r] = activation(x[r] W_g^T)` for
 * `offsets[g] <= r < offsets[g + 1]`. Sums in f32.
 *
 * @param x       [R, K] f32 | bf16
 * @param offsets [G + 1] i32
 * @param weights G times [N, K] packed; gate_up for `swiglu`
 * @returns       [R, N] `dtype`; [R, N / 2] for `swiglu`
 */
export function groupedGemm(
  plan: Plan,
  x: Tensor,
  offsets: Tensor,
  weights: Tensor[],
  dtype: ActivationDType,
  activation: Activation = 'none',
): Tensor {
  const N = weights[0]!.shape[0]!
  const out = plan.empty([x.shape[0]!, activation === 'swiglu' ? N / 2 : N], dtype)
  plan.groupedGemm(x, offsets, weights, out, activation)
  return out
}
