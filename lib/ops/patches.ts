// Made of csrc/ops/patches.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `patches`.
 *
 * The patches of images as rows (Vision Transformer, arXiv:2010.11929, section 3.1), in row-major
 * order, a pixel's channels innermost. Rows and columns of pixels that fill no patch are left out.
 * Bytes become value / 127.5 - 1, which is in [-1, 1].
 */
export interface PatchesInputs {
  /** [B, height, width, channels] f32 | u8 */
  images: Tensor
  patchHeight: number
  patchWidth: number
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `patches` makes. */
export interface PatchesOutputs {
  /** [B * patches, patchHeight * patchWidth * channels] dtype */
  out: Tensor
}

/**
 * The patches of images as rows (Vision Transformer, arXiv:2010.11929, section 3.1), in row-major
 * order, a pixel's channels innermost. Rows and columns of pixels that fill no patch are left out.
 * Bytes become value / 127.5 - 1, which is in [-1, 1].
 */
export function patches(plan: Plan, inputs: PatchesInputs): PatchesOutputs {
  return plan.record('patches', inputs) as PatchesOutputs
}
