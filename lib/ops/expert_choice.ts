// Made of csrc/ops/expert_choice.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `expertChoice`.
 *
 * Experts choose tokens (arXiv:2202.09368, section 3.2): each takes the `capacity` tokens of a
 * segment with the largest p = softmax(logits of the token), or all of a shorter segment. Equal p
 * go to the lower token. A token is taken by none up to all of the experts, so a slot stands for
 * each expert: K = E.
 *
 * A token's choice depends on tokens behind it, so this is no router of a causal decoder. A NaN
 * logit makes all p of that token NaN; it is then taken last.
 */
export interface ExpertChoiceInputs {
  /** [T, E] f32 */
  logits: Tensor
  /** [B + 1] i32, from 0 to T: tokens that are routed together */
  segments: Tensor
  /** tokens of a segment that an expert takes */
  capacity: number
}

/** What the op `expertChoice` makes. */
export interface ExpertChoiceOutputs {
  /** [T, E] i32: 0 to E - 1 for every token */
  ids: Tensor
  /** [T, E] f32, p */
  weights: Tensor
  /** [T, E] i32, in token order inside an expert; -1: the expert did not take it */
  rows: Tensor
  /** [E + 1] i32, rows of expert e are offsets[e] to offsets[e + 1] */
  offsets: Tensor
}

/**
 * Experts choose tokens (arXiv:2202.09368, section 3.2): each takes the `capacity` tokens of a
 * segment with the largest p = softmax(logits of the token), or all of a shorter segment. Equal p
 * go to the lower token. A token is taken by none up to all of the experts, so a slot stands for
 * each expert: K = E.
 */
export function expertChoice(plan: Plan, inputs: ExpertChoiceInputs): ExpertChoiceOutputs {
  return plan.record('expertChoice', inputs) as ExpertChoiceOutputs
}
