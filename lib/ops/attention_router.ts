import type { Plan, Tensor } from '../native.ts'

/**
 * Router logits by attention of the experts over each other (Yuan 2.0-M32, arXiv:2405.17976, section 3.1):
 * `logits_i = sum_j softmax_j(q_i k_j) v_j`, per token, no scale, f32.
 *
 * @param qkv [T, 3E] f32: query, key and value of each expert
 * @returns   [T, E] f32
 */
export function attentionRouter(plan: Plan, qkv: Tensor): Tensor {
  const [T, width] = qkv.shape
  const logits = plan.empty([T!, width! / 3], 'f32')
  plan.attentionRouter(qkv, logits)
  return logits
}
