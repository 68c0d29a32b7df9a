// Made of csrc/ops/clamp.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `clamp`.
 *
 * x = min(max(x, -limit), limit), in place. NaN stays.
 */
export interface ClampInputs {
  /** [T, H] f32 | bf16, may be a column slice */
  x: Tensor
  /** above 0 */
  limit: number
}

/** x = min(max(x, -limit), limit), in place. NaN stays. */
export function clamp(plan: Plan, inputs: ClampInputs): void {
  plan.record('clamp', inputs)
}
