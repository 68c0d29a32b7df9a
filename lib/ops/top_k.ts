import type { Plan, Tensor } from '../native.ts'

export interface TopKOptions {
  topK: number
  /** `renormalized`: the chosen weights sum to 1. `softmax`: probabilities over all experts. */
  weights: 'renormalized' | 'softmax'
  /** Logits are first divided by their unbiased standard deviation, times this; 0: they are not. */
  normStd?: number
  /** One flag an expert: chosen ones weigh 0 and the others share the 1 (MoE++'s zero expert). */
  givesShare?: boolean[]
}

/**
 * The K best experts of each token, best first, and their weights. Equal logits go to the lower id;
 * NaN counts as minus infinity.
 *
 * @param logits [T, E] f32
 * @returns      ids [T, K] i32, weights [T, K] f32
 */
export function topK(
  plan: Plan,
  logits: Tensor,
  options: TopKOptions,
): { ids: Tensor; weights: Tensor } {
  const shape = [logits.shape[0]!, options.topK]
  const ids = plan.empty(shape, 'i32')
  const weights = plan.empty(shape, 'f32')
  plan.topK(
    logits,
    ids,
    weights,
    options.weights,
    options.normStd ?? 0,
    options.givesShare?.map(Number),
  )
  return { ids, weights }
}
