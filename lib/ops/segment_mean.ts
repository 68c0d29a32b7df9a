// Made of csrc/ops/segment_mean.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `segmentMean`.
 *
 * The mean of each segment's rows, in f32, summed in order. A segment without rows has mean 0.
 */
export interface SegmentMeanInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [B + 1] i32, from 0 to T */
  segments: Tensor
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `segmentMean` makes. */
export interface SegmentMeanOutputs {
  /** [B, H] dtype */
  out: Tensor
}

/** The mean of each segment's rows, in f32, summed in order. A segment without rows has mean 0. */
export function segmentMean(plan: Plan, inputs: SegmentMeanInputs): SegmentMeanOutputs {
  return plan.record('segmentMean', inputs) as SegmentMeanOutputs
}
