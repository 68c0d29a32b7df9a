// Made of csrc/ops/attention_router.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `attentionRouter`.
 *
 * Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1; published code
 * `ParallelAttention_router`): per token, attention of the experts over each other.
 *
 * ```text
 * A_ij = softmax_j(q_i k_j),  logits_i = sum_j A_ij v_j
 * ```
 *
 * No scale, no mixing of tokens, all in f32.
 */
export interface AttentionRouterInputs {
  /** [T, 3E] f32: query, key, value of each expert */
  qkv: Tensor
}

/** What the op `attentionRouter` makes. */
export interface AttentionRouterOutputs {
  /** [T, E] f32 */
  logits: Tensor
}

/**
 * Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1; published code
 * `ParallelAttention_router`): per token, attention of the experts over each other.
 */
export function attentionRouter(plan: Plan, inputs: AttentionRouterInputs): AttentionRouterOutputs {
  return plan.record('attentionRouter', inputs) as AttentionRouterOutputs
}
