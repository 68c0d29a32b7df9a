import type { ActivationDType, Plan, Tensor } from '../native.ts'

/**
 * Root mean square norm (arXiv:1910.07467, eq. 4): `x / sqrt(mean(x^2) + eps) * weight`.
 *
 * @param x      [T, H] f32
 * @param weight [H] f32
 * @returns      [T, H] `dtype`
 */
export function rmsNorm(
  plan: Plan,
  x: Tensor,
  weight: Tensor,
  eps: number,
  dtype: ActivationDType,
): Tensor {
  const out = plan.empty(x.shape, dtype)
  plan.rmsNorm(x, weight, out, eps)
  return out
}
