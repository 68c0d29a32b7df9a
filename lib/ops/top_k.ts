import type { Plan, Tensor, TopKArguments } from '../native.ts'
import { type ExpertKind, ffnGroups } from './expert_kinds.ts'

export interface TopKOptions {
  /** Kind of each expert. */
  kinds: readonly ExpertKind[]
  topK: number
  /** `renormalized`: the chosen weights sum to 1. `softmax`: probabilities over all experts. */
  weights: 'renormalized' | 'softmax'
  /** Logits are first divided by their unbiased standard deviation, times this; 0: they are not. */
  normStd?: number
  /** One flag an expert: chosen ones weigh 0 and the others share the 1 (MoE++'s zero expert). */
  givesShare?: boolean[]
}

export interface Choice {
  /** [T, K] i32, best first */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [G + 1] i32: rows of the FFN expert g are offsets[g] to offsets[g + 1] */
  offsets: Tensor
  /** [T, K] i32: the row of each slot when rows are grouped by expert; -1 for experts that are no FFN */
  rows: Tensor
}

/** What top-k routing writes, and its arguments for the native side. */
export function choice(
  plan: Plan,
  logits: Tensor,
  options: TopKOptions,
): { chosen: Choice; args: TopKArguments } {
  const shape = [logits.shape[0]!, options.topK]
  const groups = ffnGroups(options.kinds)
  const chosen = {
    ids: plan.empty(shape, 'i32'),
    weights: plan.empty(shape, 'f32'),
    offsets: plan.empty([groups.filter((group) => group >= 0).length + 1], 'i32'),
    rows: plan.empty(shape, 'i32'),
  }
  const { ids, weights, offsets, rows } = chosen
  const share = options.givesShare?.map(Number)
  const norm = options.normStd ?? 0
  return {
    chosen,
    args: [logits, ids, weights, options.weights, norm, share, groups, offsets, rows],
  }
}

/**
 * Fused top-k routing: the K best experts of each token, best first, their weights, and the place of each slot
 * when rows are grouped by expert, in token order. Equal logits go to the lower id; NaN counts as minus infinity.
 *
 * @param logits [T, E] f32
 */
export function topK(plan: Plan, logits: Tensor, options: TopKOptions): Choice {
  const { chosen, args } = choice(plan, logits, options)
  plan.topK(...args)
  return chosen
}
