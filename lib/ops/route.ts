import type { ActivationDType, Plan, Tensor, Weight } from '../native.ts'
import { type Choice, choice, type TopKOptions } from './top_k.ts'

/** The residual stream and the norm in front of what reads it. */
export interface NormInput {
  /** [T, H] f32 */
  x: Tensor
  /** [H] f32 */
  weight: Tensor
  eps: number
  /** Of the normed rows. */
  dtype: ActivationDType
}

export interface RouteOptions extends TopKOptions {
  /** The projection is [T, 3E] and goes through `attentionRouter`. */
  attention?: boolean
  /** Router logits of the layer below [T, E] and their packed map [E, E], added to this layer's. */
  carried?: { previous: Tensor; gateMap: Weight } | undefined
}

/**
 * RMSNorm, router projection and fused top-k routing; one launch on a GPU for few tokens.
 *
 * @param weight packed [E, H], or [3E, H] with `attention`
 * @returns      normed [T, H], logits [T, E] f32 before any softmax, and what `topK` returns
 */
export function route(
  plan: Plan,
  input: NormInput,
  weight: Weight,
  options: RouteOptions,
): Choice & { normed: Tensor; logits: Tensor } {
  const { x, eps, dtype } = input
  const T = x.shape[0]!
  const E = options.kinds.length
  const f32 = (width: number): Tensor => plan.empty([T, width], 'f32')
  const normed = plan.empty(x.shape, dtype)
  const logits = f32(E)
  const qkv = options.attention ? f32(3 * E) : undefined
  const { previous, gateMap } = options.carried ?? {}
  const { chosen, args } = choice(plan, logits, options)
  const sum = previous && f32(E)
  plan.route(x, input.weight, eps, normed, weight, qkv, previous, gateMap, sum, args)
  return { normed, logits, ...chosen }
}
