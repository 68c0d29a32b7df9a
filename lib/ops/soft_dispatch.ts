// Made of csrc/ops/soft_dispatch.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `softDispatch`.
 *
 * The rows that Soft MoE's experts see (arXiv:2308.00951, section 2.1): each slot is a mix of all
 * tokens of its segment. Of B segments and E experts of P slots, slot p of expert e and segment b
 * is row (e B + b) P + p, so that an expert's rows are together.
 *
 * ```text
 * out[(e B + b) P + p] = sum over the tokens t of b, ascending, of weights[t, e P + p] * x[t]
 * ```
 */
export interface SoftDispatchInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [T, E * P] f32, `dispatch` of softWeights */
  weights: Tensor
  /** [B + 1] i32, from 0 to T: tokens that are mixed */
  segments: Tensor
  /** E */
  experts: number
}

/** What the op `softDispatch` makes. */
export interface SoftDispatchOutputs {
  /** [E * B * P, H] dtype of x */
  out: Tensor
  /** [E + 1] i32, rows of expert e are offsets[e] to offsets[e + 1] */
  offsets: Tensor
}

/**
 * The rows that Soft MoE's experts see (arXiv:2308.00951, section 2.1): each slot is a mix of all
 * tokens of its segment. Of B segments and E experts of P slots, slot p of expert e and segment b
 * is row (e B + b) P + p, so that an expert's rows are together.
 */
export function softDispatch(plan: Plan, inputs: SoftDispatchInputs): SoftDispatchOutputs {
  return plan.record('softDispatch', inputs) as SoftDispatchOutputs
}
