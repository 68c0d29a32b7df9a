import type { Plan, Tensor } from '../native.ts'

/** Tokens of one block of the key/value cache; csrc/ops/rope_cache.h has the same. */
export const blockTokens = 32

/**
 * Rotary position embedding (arXiv:2104.09864, half-split pairs) of queries, in place, and keys, and the
 * write of keys and values to the cache.
 *
 * @param q, k, v   [T, N * D], [T, G * D], [T, G * D] of one dtype; may be column slices
 * @param positions [T] i32, below the table's rows
 * @param slots     [T] i32, cache slot of each token
 * @param table     [P, r] f32: r/2 cosines, then r/2 sines; the first r values of a head are rotated
 * @param keys      [blocks, G, D, 32]
 * @param values    [blocks, G, 32, D]
 */
export function ropeCache(
  plan: Plan,
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  { positions, slots, table }: { positions: Tensor; slots: Tensor; table: Tensor },
  { keys, values }: { keys: Tensor; values: Tensor },
): void {
  plan.ropeCache(q, k, v, positions, slots, table, keys, values)
}
