import type { Plan, Tensor } from '../native.ts'

/**
 * `out[r] = x[rows[r]]`.
 *
 * @param x    [T, H] f32 | bf16
 * @param rows [R] i32, in [0, T)
 * @returns    [R, H], dtype of x
 */
export function gatherRows(plan: Plan, x: Tensor, rows: Tensor): Tensor {
  const out = plan.empty([rows.shape[0]!, x.shape[1]!], x.dtype)
  plan.gatherRows(x, rows, out)
  return out
}
