import type { ActivationDType, Plan, Tensor } from '../native.ts'

/** Where each token's keys are. */
export interface Visible {
  /** [T] i32, the token's position: the last key it sees */
  positions: Tensor
  /** [T] i32, the first position it sees */
  starts: Tensor
  /** [T] i32, row of the block table */
  sequences: Tensor
  /** [B, M] i32, cache blocks of each sequence in order */
  blockTable: Tensor
}

/**
 * Causal attention over the block-table cache for any mix of prefill chunks and decode tokens:
 * `softmax(q key^T * scale) value`, softmax in f32. Query head n reads key head n / (N / G).
 *
 * @param q            [T, N * D] f32 | bf16
 * @param keys, values as `ropeCache` wrote them
 * @returns            [T, N * D], dtype of q
 */
export function attention(
  plan: Plan,
  q: Tensor,
  { keys, values }: { keys: Tensor; values: Tensor },
  visible: Visible,
  scale: number,
): Tensor {
  const out = plan.empty(q.shape, q.dtype as ActivationDType)
  const { positions, starts, sequences, blockTable } = visible
  plan.attention(q, keys, values, positions, starts, sequences, blockTable, out, scale)
  return out
}
