// Made of csrc/ops/top_k.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'
import type { ExpertKind, RouterScore, TopKWeights, GroupScore } from './names.ts'

/**
 * Fields of the op `topK`.
 *
 * Fused top-k routing: the K best experts of each token, best first, their weights, and where each
 * slot's row goes when rows are grouped by expert.
 *
 * ```text
 * s = score(z)        c = s + choiceBias, -inf outside the kept groups
 * ids = K largest c   w = s[ids] * factor, or s[ids] / (sum of s[ids]) * factor
 * ```
 *
 * That is Mixtral's and Qwen's router (softmax), DeepSeek-V2's (softmax, groups by `max`),
 * DeepSeek-V3's (arXiv:2412.19437, equations 12 to 16: sigmoid, bias, groups by `top2`; its code
 * adds 1e-20 to the sum), LongCat-Flash's (softmax, bias) and LLaMA-MoE's without scores (one).
 * Without a bias and with groups by `max`, c is the logit, which orders experts as their scores
 * do, without rounding.
 *
 * Groups are E / groups experts in a row. `sparsemixer` is PhiMoE's (arXiv:2409.12136, the
 * published code): the best logit z_a weighs what softmax gives it among the experts i with
 * (z_a - z_i) / max(|z_i|, z_a) <= 2 jitter; the next is chosen and weighed so among the rest.
 *
 * Only FFN experts have a row: slots of zero, copy and constant experts get row -1 and never enter
 * the GEMM. Rows are in token order inside an expert, so they are the same in every run.
 *
 * Optionally the logits are first divided by their unbiased standard deviation and multiplied by
 * `normStd` (MoE++'s logits norm; published code, from Skywork-MoE). Experts marked in
 * `givesShare` (MoE++'s zero expert in standard gating) may be chosen, then weigh 0, and the
 * others share the 1. Equal c go to the lowest expert id, and equal logits have no spread to
 * normalise.
 *
 * `adjust` changes the choice of some tokens: row adjustOf[t] is added to token t's logits, behind
 * a logits norm; minus infinity disables an expert, plus infinity forces it: it keeps its logit
 * and is chosen before all others, whatever its group. `counts` counts how often experts are
 * chosen.
 *
 * NaN counts as minus infinity, so ids are always distinct and valid. A row with NaN or plus
 * infinity, before or behind `adjust`, has no softmax, as in the published codes: its weights are
 * NaN under any score, so that it shows in the logits. Minus infinity is an expert that is chosen
 * last and has a score of 0.
 */
export interface TopKInputs {
  /** [T, E] f32 */
  logits: Tensor
  /** [E] f32, added to scores to choose by, not to weigh by */
  choiceBias?: Tensor | undefined
  /** [R, E] f32, may be a column slice; with adjustOf */
  adjust?: Tensor | undefined
  /** [T] i32, row of adjust; -1: none */
  adjustOf?: Tensor | undefined
  /** [E, 2] i32: low and high words of numbers that grow */
  counts?: Tensor | undefined
  /** of the E experts */
  kinds: readonly ExpertKind[]
  /** K, 1 to the experts of the kept groups */
  topK: number
  score?: RouterScore | undefined
  weights: TopKWeights
  /** of the weights */
  factor?: number | undefined
  /** a divisor of E, at most 32 */
  groups?: number | undefined
  /** groups that a token may choose from */
  keptGroups?: number | undefined
  groupScore?: GroupScore | undefined
  /** of sparsemixer */
  jitter?: number | undefined
  /** 0: no logits norm */
  normStd?: number | undefined
  /** E flags, or empty */
  givesShare?: readonly boolean[] | undefined
}

/** What the op `topK` makes. */
export interface TopKOutputs {
  /** [T, K] i32 */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [G + 1] i32, rows of FFN expert g are offsets[g] to offsets[g + 1] */
  offsets: Tensor
  /** [T, K] i32, the row of each slot; -1: no row */
  rows: Tensor
}

/**
 * Fused top-k routing: the K best experts of each token, best first, their weights, and where each
 * slot's row goes when rows are grouped by expert.
 */
export function topK(plan: Plan, inputs: TopKInputs): TopKOutputs {
  return plan.record('topK', inputs) as TopKOutputs
}
