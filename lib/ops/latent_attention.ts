// Made of csrc/ops/latent_attention.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `latentAttention`.
 *
 * Multi-head latent attention in its absorbed form (DeepSeek-AI 2024, arXiv:2405.04434, section
 * 2.1.2): all query heads read one row [c, r] a token, as key and as value.
 *
 * ```text
 * out[t, n] = sum_s softmax_s((absorbed[t, n] . c[s] + q[t, n, :R] . r[s]) * scale) c[s]
 * for starts[t] <= s <= ends[t]
 * ```
 *
 * absorbed is the head's key projection, transposed, of the query's unrotated part; a head's value
 * projection of out gives its values. Softmax in f32, online as in `attention`.
 */
export interface LatentAttentionInputs {
  /** [T, N * D] f32 | bf16, rotated in place by latentCache; may be a column slice */
  q: Tensor
  /** [T, N * C] dtype of q */
  absorbed: Tensor
  /** N */
  heads: number
  /** [blocks, 32, C + R] as latentCache wrote it */
  cache: Tensor
  /** [T] i32, first position that the token sees */
  starts: Tensor
  /** [T] i32, the last one */
  ends: Tensor
  /** [T] i32, row of the block table */
  sequences: Tensor
  /** [B, M] i32, cache blocks of each sequence in order */
  blockTable: Tensor
  scale: number
}

/** What the op `latentAttention` makes. */
export interface LatentAttentionOutputs {
  /** [T, N * C] dtype of q */
  out: Tensor
}

/**
 * Multi-head latent attention in its absorbed form (DeepSeek-AI 2024, arXiv:2405.04434, section
 * 2.1.2): all query heads read one row [c, r] a token, as key and as value.
 */
export function latentAttention(plan: Plan, inputs: LatentAttentionInputs): LatentAttentionOutputs {
  return plan.record('latentAttention', inputs) as LatentAttentionOutputs
}
