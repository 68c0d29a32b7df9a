// Made of csrc/ops/causal_pair.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `causalPair`.
 *
 * Each token's row beside the row of the token before it: the input of a causal two-tap
 * convolution, which then is a plain matrix product (Yuan's localized filtering, arXiv:2405.17976,
 * section 3).
 *
 * ```text
 * out[t, 2c] = previous(t)[c],  out[t, 2c + 1] = x[t, c]
 * ```
 *
 * Interleaved, so that a convolution weight [out, in, 2, 1] is the matrix as it stands. `previous`
 * is the row above in the same sequence, the saved state for the first token of a chunk, and zero
 * at position 0. The state of a cache block is the row of the last token written to it, so it is
 * shared, forked and truncated with the block.
 */
export interface CausalPairInputs {
  /** [T, C] f32 | bf16 */
  x: Tensor
  /** [blocks, C] dtype of x, updated */
  state: Tensor
  /** [T] i32 */
  positions: Tensor
  /** [T] i32, cache slots */
  slots: Tensor
  /** [T] i32, ascending */
  sequences: Tensor
  /** [B, M] i32 */
  blockTable: Tensor
}

/** What the op `causalPair` makes. */
export interface CausalPairOutputs {
  /** [T, 2C] dtype of x */
  out: Tensor
}

/**
 * Each token's row beside the row of the token before it: the input of a causal two-tap
 * convolution, which then is a plain matrix product (Yuan's localized filtering, arXiv:2405.17976,
 * section 3).
 */
export function causalPair(plan: Plan, inputs: CausalPairInputs): CausalPairOutputs {
  return plan.record('causalPair', inputs) as CausalPairOutputs
}
