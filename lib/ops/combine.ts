import type { Plan, Tensor } from '../native.ts'
import { type ExpertKind, expertKinds } from './expert_kinds.ts'

export interface CombineInputs {
  /** [R, H] f32 | bf16, rows grouped by expert */
  expertOut: Tensor
  /** [T, K] i32, row of expertOut for each slot; -1 for experts that are no FFN */
  rows: Tensor
  /** [T, K] i32 */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [T, H] f32 */
  residual: Tensor
  /** Kind of each expert */
  kinds: readonly ExpertKind[]
  /** [T, H], the input of the MoE block; needed for copy and constant experts */
  x?: Tensor
  /** [C, H] f32, the vectors of the constant experts in order */
  constants?: Tensor
  /** [C, 2, H] f32, their gates */
  gates?: Tensor
  /** Factor of x as the experts see it */
  scale?: number
}

/**
 * Weighted sum of what the chosen experts return, back in token order, on top of the residual stream:
 * `residual[t] + sum_k weights[t, k] * y_k`, where an FFN expert returns its row, zero 0, copy `scale * x[t]`
 * and constant `a1 * scale * x[t] + a2 * constant`, `[a1, a2] = softmax(gate scale x[t])`.
 *
 * @returns [T, H] f32
 */
export function combine(plan: Plan, inputs: CombineInputs): Tensor {
  const { expertOut, rows, ids, weights, residual, kinds, x, constants, gates, scale = 1 } = inputs
  const out = plan.empty(residual.shape, 'f32')
  const codes = kinds.map((kind) => expertKinds.indexOf(kind))
  plan.combine(expertOut, rows, ids, weights, residual, codes, x, constants, gates, scale, out)
  return out
}
