// Made of csrc/ops/combine.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'
import type { ExpertKind } from './names.ts'

/**
 * Fields of the op `combine`.
 *
 * Weighted sum of what a token's experts return, back in token order, plus the residual stream.
 *
 * ```text
 * out[t] = residual[t] + factor * sum_k weights[t, k] * y_k, with xs = scale * x[t] and
 * ffn:       y = expertOut[rows[t, k]]
 * zero:      y = 0
 * copy:      y = xs
 * constant:  y = a1 xs + a2 constants[c], [a1, a2] = softmax(gates[c] xs)
 * ```
 *
 * A slot without a row adds nothing unless its weight is NaN: then out[t] is NaN, so that what
 * went wrong in a router shows where a zero expert was chosen, or a choice was dropped, too.
 *
 * Copy and constant experts become scalars per token. Sums in f32: residual, then x, then
 * constants in order, then FFN slots with k ascending, so every run and every batch gives the same
 * bits.
 */
export interface CombineInputs {
  /** [R, H] f32 | bf16, rows grouped by expert */
  expertOut: Tensor
  /** [T, K] i32, row of expertOut; -1 for experts that are no FFN */
  rows: Tensor
  /** [T, K] i32 */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [T, H] f32 */
  residual: Tensor
  /** of the E experts */
  kinds: readonly ExpertKind[]
  /** [T, H] dtype of expertOut; for copy and constant experts */
  x?: Tensor | undefined
  /** [C, H] f32, one for each constant expert in order */
  constants?: Tensor | undefined
  /** [C, 2, H] f32, the gate of each constant expert */
  gates?: Tensor | undefined
  /** of x, as the experts see it */
  scale?: number | undefined
  /** of the sum of experts */
  factor?: number | undefined
}

/** What the op `combine` makes. */
export interface CombineOutputs {
  /** [T, H] f32 */
  out: Tensor
}

/** Weighted sum of what a token's experts return, back in token order, plus the residual stream. */
export function combine(plan: Plan, inputs: CombineInputs): CombineOutputs {
  return plan.record('combine', inputs) as CombineOutputs
}
