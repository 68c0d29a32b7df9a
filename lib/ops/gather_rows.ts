// Made of csrc/ops/gather_rows.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `gatherRows`.
 *
 * out[r, :] = x[rows[r], :], so that the output head sees only the positions asked for.
 */
export interface GatherRowsInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [R] i32, in [0, T) */
  rows: Tensor
}

/** What the op `gatherRows` makes. */
export interface GatherRowsOutputs {
  /** [R, H] dtype of x */
  out: Tensor
}

/** out[r, :] = x[rows[r], :], so that the output head sees only the positions asked for. */
export function gatherRows(plan: Plan, inputs: GatherRowsInputs): GatherRowsOutputs {
  return plan.record('gatherRows', inputs) as GatherRowsOutputs
}
