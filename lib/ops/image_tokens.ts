// Made of csrc/ops/image_tokens.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `imageTokens`.
 *
 * The tokens of images: a class token in front, if there is one, and positions added
 * (arXiv:2010.11929, equation 1).
 *
 * ```text
 * out[b, n] = (n == 0 ? classToken : patches[b, n - 1]) + positions[n]
 * ```
 *
 * and without a class token patches[b, n] + positions[n].
 */
export interface ImageTokensInputs {
  /** [B * P, H] f32 */
  patches: Tensor
  /** [H] f32 */
  classToken?: Tensor | undefined
  /** [N, H] f32 */
  positions?: Tensor | undefined
  /** B */
  images: number
}

/** What the op `imageTokens` makes. */
export interface ImageTokensOutputs {
  /** [B * N, H] f32, N = P, and one more with a class token */
  out: Tensor
}

/**
 * The tokens of images: a class token in front, if there is one, and positions added
 * (arXiv:2010.11929, equation 1).
 */
export function imageTokens(plan: Plan, inputs: ImageTokensInputs): ImageTokensOutputs {
  return plan.record('imageTokens', inputs) as ImageTokensOutputs
}
