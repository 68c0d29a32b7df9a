// Made of csrc/ops/embedding.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `embedding`.
 *
 * Rows of the embedding table: out[t, :] = scale * table[ids[t], :].
 */
export interface EmbeddingInputs {
  /** [V, H] f32 | bf16 | f16 */
  table: Tensor
  /** [T] i32, in [0, V) */
  ids: Tensor
  scale?: number | undefined
}

/** What the op `embedding` makes. */
export interface EmbeddingOutputs {
  /** [T, H] f32 */
  out: Tensor
}

/** Rows of the embedding table: out[t, :] = scale * table[ids[t], :]. */
export function embedding(plan: Plan, inputs: EmbeddingInputs): EmbeddingOutputs {
  return plan.record('embedding', inputs) as EmbeddingOutputs
}
