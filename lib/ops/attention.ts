// Made of csrc/ops/attention.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `attention`.
 *
 * Attention over the block-table cache, for any mix of prefill chunks and decode tokens.
 *
 * ```text
 * out[t, n] = sum_s softmax_s(q[t, n] . key[s, n / (N / G)] * scale) value[s, n / (N / G)]
 * for starts[t] <= s <= ends[t]
 * ```
 *
 * With `bias` [N, 2 F + 1] a score also gets bias[n, F + r], where r is the key's distance from
 * the token, s - positions[t], cut to -F .. F (T5, arXiv:1910.10683, section 2.1).
 *
 * A sink is one more score of its head, not scaled and without a value: it takes its share of the
 * softmax and adds nothing (gpt-oss, arXiv:2508.10925).
 *
 * Softmax in f32, online over blocks of 32 keys (Dao et al. 2022, arXiv:2205.14135); a block's
 * place depends on the position only, so a token's bits do not depend on its chunk or its
 * neighbours.
 */
export interface AttentionInputs {
  /** [T, N * D] f32 | bf16, may be a column slice */
  q: Tensor
  keys: Tensor
  values: Tensor
  /** [N] f32 */
  sinks?: Tensor | undefined
  /** [N, 2 F + 1] f32, by a key's distance from the token */
  bias?: Tensor | undefined
  /** [T] i32, the token's own; with bias */
  positions?: Tensor | undefined
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

/** What the op `attention` makes. */
export interface AttentionOutputs {
  /** [T, N * V] dtype of q */
  out: Tensor
}

/** Attention over the block-table cache, for any mix of prefill chunks and decode tokens. */
export function attention(plan: Plan, inputs: AttentionInputs): AttentionOutputs {
  return plan.record('attention', inputs) as AttentionOutputs
}
