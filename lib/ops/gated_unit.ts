// Made of csrc/ops/gated_unit.h by scripts/generate_ops.mjs.

import type { DType, Plan, Tensor } from '../native.ts'
import type { Activation } from './names.ts'

/**
 * Fields of the op `gatedUnit`.
 *
 * A gated linear unit (Shazeer 2020, arXiv:2002.05202) of sums that are no longer inside a GEMM,
 * since something was added to them. `linear` and `groupedGemm` do their own.
 *
 * ```text
 * out[t, i] = activation(gate = x[t, i], up = x[t, I + i])
 * ```
 */
export interface GatedUnitInputs {
  /** [T, 2 I] f32, gate values, then up values; may be a column slice */
  x: Tensor
  /** a gated one */
  activation?: Activation | undefined
  /** of swigluClamped, above 0 */
  limit?: number | undefined
  /** of swigluClamped */
  alpha?: number | undefined
  /** f32 | bf16 */
  dtype?: DType | undefined
}

/** What the op `gatedUnit` makes. */
export interface GatedUnitOutputs {
  /** [T, I] dtype */
  out: Tensor
}

/**
 * A gated linear unit (Shazeer 2020, arXiv:2002.05202) of sums that are no longer inside a GEMM,
 * since something was added to them. `linear` and `groupedGemm` do their own.
 */
export function gatedUnit(plan: Plan, inputs: GatedUnitInputs): GatedUnitOutputs {
  return plan.record('gatedUnit', inputs) as GatedUnitOutputs
}
