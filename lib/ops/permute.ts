import type { Plan, Tensor } from '../native.ts'

/**
 * Token rows grouped by expert, as `topK` has placed them: `permuted[rows[t, k]] = scale * x[t]`.
 *
 * @param x    [T, H] f32 | bf16
 * @param rows [T, K] i32, distinct; -1: none
 * @returns    [T * K, H], dtype of x
 */
export function permute(plan: Plan, x: Tensor, rows: Tensor, scale = 1): Tensor {
  const [T, K] = rows.shape
  const permuted = plan.empty([T! * K!, x.shape[1]!], x.dtype)
  plan.permute(x, rows, scale, permuted)
  return permuted
}
