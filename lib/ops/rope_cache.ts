// Made of csrc/ops/rope_cache.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `ropeCache`.
 *
 * Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on queries and keys, and the write
 * of keys and values to the cache.
 *
 * Half-split pairs over the first r values of a head, r/2 = table columns / 2:
 * ```text
 * a'_j = a_j cos - a_{j + r/2} sin,  a'_{j + r/2} = a_{j + r/2} cos + a_j sin
 * ```
 * The other D - r values pass unchanged. Queries are rotated in place. Without a table nothing is
 * rotated, and without queries keys and values are only written: those of an encoder's output.
 *
 * Cache block b holds keys [G, D, 32] (so that the scores of 32 keys are one vector operation) and
 * values [G, 32, V]; token slot s is block s / 32, column s % 32.
 */
export interface RopeCacheInputs {
  /** [T, N * D] f32 | bf16, rotated in place; may be a column slice */
  q?: Tensor | undefined
  /** [T, G * D] dtype of q */
  k: Tensor
  /** [T, G * V] dtype of q */
  v: Tensor
  /** [T] i32, below the table's rows; with table */
  positions?: Tensor | undefined
  /** [T] i32, cache slot of each token */
  slots: Tensor
  /** [P, r] f32: r/2 cosines, then r/2 sines */
  table?: Tensor | undefined
  /** [blocks, G, D, 32] dtype of q */
  keys: Tensor
  /** [blocks, G, 32, V] dtype of q */
  values: Tensor
}

/**
 * Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on queries and keys, and the write
 * of keys and values to the cache.
 */
export function ropeCache(plan: Plan, inputs: RopeCacheInputs): void {
  plan.record('ropeCache', inputs)
}
