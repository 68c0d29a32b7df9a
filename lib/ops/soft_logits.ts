// Made of csrc/ops/soft_logits.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `softLogits`.
 *
 * Router logits of Soft MoE as its published code has them (arXiv:2308.00951, section 2.3):
 * cosines of tokens and slots, times a learnt scale.
 *
 * ```text
 * logits[t, s] = scale * (x[t] . slots[:, s]) / (|x[t]| |slots[:, s]|), |v| = sqrt(v . v + 1e-6)
 * ```
 */
export interface SoftLogitsInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [H, S] f32, of S = experts * slots of an expert */
  slots: Tensor
  /** [1] f32 */
  scale: Tensor
}

/** What the op `softLogits` makes. */
export interface SoftLogitsOutputs {
  /** [T, S] f32 */
  logits: Tensor
}

/**
 * Router logits of Soft MoE as its published code has them (arXiv:2308.00951, section 2.3):
 * cosines of tokens and slots, times a learnt scale.
 */
export function softLogits(plan: Plan, inputs: SoftLogitsInputs): SoftLogitsOutputs {
  return plan.record('softLogits', inputs) as SoftLogitsOutputs
}
