// Made of csrc/ops/top_k.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'
import type { ExpertKind, TopKWeights } from './names.ts'

export interface TopKInputs {
  /** [T, E] f32 */
  logits: Tensor
  /** of the E experts */
  kinds: readonly ExpertKind[]
  /** K, 1 to E */
  topK: number
  weights: TopKWeights
  /** 0: no logits norm */
  normStd?: number | undefined
  /** E flags, or empty */
  givesShare?: readonly boolean[] | undefined
}

export interface TopKOutputs {
  /** [T, K] i32 */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [G + 1] i32, rows of group g are offsets[g] to offsets[g + 1] */
  offsets: Tensor
  /** [T, K] i32, the row of each slot; -1: no row */
  rows: Tensor
}

/**
 * Fused top-k routing: the K best experts of each token, best first, their weights, and where each
 * slot's row goes when rows are grouped by expert.
 *
 * Only FFN experts have a group, counted up in their order: slots of zero, copy and constant
 * experts get row -1 and never enter the GEMM. Rows are in token order inside a group, so they are
 * the same in every run.
 *
 * Optionally the logits are first divided by their unbiased standard deviation and multiplied by
 * `normStd` (MoE++'s logits norm; published code, from Skywork-MoE). Experts marked in
 * `givesShare` (MoE++'s zero expert in standard gating) may be chosen, then weigh 0, and the
 * others share the 1. Equal logits go to the lowest expert id, and have no spread to normalise.
 *
 * NaN counts as minus infinity, so ids are always distinct and valid. A row with NaN or plus
 * infinity has no softmax, as in the published codes: its weights are NaN, so that it shows in the
 * logits. Minus infinity is an expert that is never chosen.
 */
export function topK(plan: Plan, inputs: TopKInputs): TopKOutputs {
  return plan.record('topK', inputs) as TopKOutputs
}
