// Made of csrc/ops/lora.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'

/**
 * Fields of the op `lora`.
 *
 * What low-rank experts add beside a projection (LoRA, arXiv:2106.09685, section 4.1; chosen for
 * each token: PHATGOOSE, arXiv:2402.05859, section 3).
 *
 * ```text
 * out[t] = residual[t] + scale * sum_s w[t, s] * (x[t] A^T) B   with A, B = pair ids[t, s]
 * ```
 *
 * w is `weights`, or 1; with an epsilon above 0, weights / (their sum + epsilon), as the published
 * code of PHATGOOSE has it. A pair is one tensor: row j has row j of A [r, K], then row j of B
 * [r, N]. Pairs may have different ranks r, also 0.
 *
 * Where a projection is several modules side by side, such as q, k and v, each id stands for P
 * pairs, one a part, and the columns of part p begin at columns[p]. Nothing is added to the other
 * columns, nor for slots without a pair: without a residual these are -0, which leaves every
 * number as it is that they are added to. Sums in f32, slots and rows of A ascending.
 */
export interface LoraInputs {
  /** [T, K] f32 | bf16 */
  x: Tensor
  /** [T, S] i32, below the number of pairs / P; -1: no pair */
  ids: Tensor
  /** [T, S] f32 */
  weights?: Tensor | undefined
  /** [r, K + N] f32: of id 0 all parts, then of id 1 */
  pairs: readonly Tensor[]
  /** P times, ascending; default one part, from 0 on */
  columns?: readonly number[] | undefined
  /** [T, width] f32 */
  residual?: Tensor | undefined
  /** of the output; must be given where there is no residual */
  width?: number | undefined
  scale?: number | undefined
  /** at least 0; 0: weights as they are */
  epsilon?: number | undefined
}

/** What the op `lora` makes. */
export interface LoraOutputs {
  /** [T, width] f32 */
  out: Tensor
}

/**
 * What low-rank experts add beside a projection (LoRA, arXiv:2106.09685, section 4.1; chosen for
 * each token: PHATGOOSE, arXiv:2402.05859, section 3).
 */
export function lora(plan: Plan, inputs: LoraInputs): LoraOutputs {
  return plan.record('lora', inputs) as LoraOutputs
}
