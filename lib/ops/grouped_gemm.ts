import type { Activation, ActivationDType, Plan, Tensor, Weight } from '../native.ts'

export interface GroupedGemmOptions {
  activation?: Activation
  /** [T, k] i32 as `topK` gives them: x [T, K] is in token order and permuted first. */
  rows?: Tensor
  /** Factor of x, with `rows`. */
  scale?: number
}

/**
 * One GEMM per expert over rows grouped by expert: `out[r] = activation(x[r] W_g^T)` for
 * `offsets[g] <= r < offsets[g + 1]`. Sums in f32.
 *
 * @param x       [R, K] f32 | bf16; with `rows` [T, K] and R = T * k
 * @param offsets [G + 1] i32
 * @param weights G times [N, K] packed; gate_up for `swiglu`
 * @returns       [R, N] `dtype`; [R, N / 2] for `swiglu`
 */
export function groupedGemm(
  plan: Plan,
  x: Tensor,
  offsets: Tensor,
  weights: Weight[],
  dtype: ActivationDType,
  { activation = 'none', rows, scale = 1 }: GroupedGemmOptions = {},
): Tensor {
  const N = weights[0]!.shape[0]!
  const R = rows ? rows.shape[0]! * rows.shape[1]! : x.shape[0]!
  const gathered = rows && plan.empty([R, x.shape[1]!], x.dtype)
  const out = plan.empty([R, activation === 'swiglu' ? N / 2 : N], dtype)
  plan.groupedGemm(x, rows, scale, gathered, offsets, weights, out, activation)
  return out
}
