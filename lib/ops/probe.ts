// Made of csrc/ops/probe.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'
import type { ProbeKind } from './names.ts'

/**
 * Fields of the op `probe`.
 *
 * What a device can do, as an op, so that ceilings are measured as the kernels are.
 */
export interface ProbeInputs {
  /** [n] f32 */
  from: Tensor
  /** [n] f32; for `read` [4096], partial sums */
  to: Tensor
  kind: ProbeKind
}

/** What a device can do, as an op, so that ceilings are measured as the kernels are. */
export function probe(plan: Plan, inputs: ProbeInputs): void {
  plan.record('probe', inputs)
}
