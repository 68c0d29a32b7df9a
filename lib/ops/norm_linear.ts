import type { ActivationDType, Plan, Tensor, Weight } from '../native.ts'
import type { NormInput } from './route.ts'

/**
 * RMSNorm and the dense projection that reads it, `out = normed W^T`; one launch on a GPU for few tokens.
 *
 * @param weight  packed [N, H]
 * @param options `exact`: the normed rows also as f32
 * @returns       normed [T, H] in the input's dtype, exact [T, H] f32 if asked for, out [T, N] `dtype`
 */
export function normLinear(
  plan: Plan,
  { x, weight: normWeight, eps, dtype: normedDType }: NormInput,
  weight: Weight,
  dtype: ActivationDType,
  options: { exact?: boolean } = {},
): { normed: Tensor; out: Tensor; exact?: Tensor } {
  const normed = plan.empty(x.shape, normedDType)
  const rounds = options.exact && normedDType !== 'f32'
  const exact = rounds ? plan.empty(x.shape, 'f32') : undefined
  const out = plan.empty([x.shape[0]!, weight.shape[0]!], dtype)
  plan.normLinear(x, normWeight, eps, normed, exact, weight, out)
  return { normed, out, ...(options.exact && { exact: exact ?? normed }) }
}
