// Made of csrc/ops/latent_cache.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `latentCache`.
 *
 * What multi-head latent attention keeps of a token, and rotary positions on its queries
 * (DeepSeek-AI 2024, arXiv:2405.04434, eq. 9, 14, 15).
 *
 * ```text
 * cache[slot] = [scale * RMSNorm(c), rotated r]  for latent[t] = [c, r]
 * ```
 *
 * Half-split pairs as ropeCache has them, over the first R values of each query head, in place.
 * A row of the cache is key and value at once: C + R values a token, whatever the number of heads.
 */
export interface LatentCacheInputs {
  /** [T, N * D] f32 | bf16, rotated in place; may be a column slice */
  q: Tensor
  /** [T, C + R] f32 | bf16, may be a column slice */
  latent: Tensor
  /** [C] f32, of the norm */
  weight: Tensor
  /** of the norm */
  eps: number
  /** of the normed c */
  scale?: number | undefined
  /** N */
  heads: number
  /** [T] i32, below the table's rows */
  positions: Tensor
  /** [T] i32, cache slot of each token */
  slots: Tensor
  /** [P, R] f32: R/2 cosines, then R/2 sines */
  table: Tensor
  /** [blocks, 32, C + R] dtype of q */
  cache: Tensor
}

/**
 * What multi-head latent attention keeps of a token, and rotary positions on its queries
 * (DeepSeek-AI 2024, arXiv:2405.04434, eq. 9, 14, 15).
 */
export function latentCache(plan: Plan, inputs: LatentCacheInputs): void {
  plan.record('latentCache', inputs)
}
