// Made of csrc/ops/attention.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

export interface AttentionInputs {
  /** [T, N * D] f32 | bf16, may be a column slice */
  q: Tensor
  keys: Tensor
  values: Tensor
  /** [N] f32 */
  sinks?: Tensor | undefined
  /** [T] i32, first position that the token sees */
  starts: Tensor
  /** [T] i32, the last one: its own, where attention is causal */
  ends: Tensor
  /** [T] i32, row of the block table */
  sequences: Tensor
  /** [B, M] i32, cache blocks of each sequence in order */
  blockTable: Tensor
  scale: number
}

export interface AttentionOutputs {
  /** [T, N * V] dtype of q */
  out: Tensor
}

/**
 * Attention over the block-table cache, for any mix of prefill chunks and decode tokens.
 *
 *   out[t, n] = sum_s softmax_s(q[t, n] . key[s, n / (N / G)] * scale) value[s, n / (N / G)]
 *   for starts[t] <= s <= ends[t]
 *
 * A sink is one more score of its head, not scaled and without a value: it takes its share of the
 * softmax and adds nothing (gpt-oss, arXiv:2508.10925).
 *
 * Softmax in f32, online over blocks of 32 keys (Dao et al. 2022, arXiv:2205.14135); a block's
 * place depends on the position only, so a token's bits do not depend on its chunk or its
 * neighbours.
 */
export function attention(plan: Plan, inputs: AttentionInputs): AttentionOutputs {
  return plan.record('attention', inputs) as AttentionOutputs
}
