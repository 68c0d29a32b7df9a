// Made of csrc/ops/limit_capacity.h by scripts/generate_ops.mjs.

import type { Plan, Tensor } from '../native.ts'
import type { CapacityOrder } from './names.ts'

/**
 * Fields of the op `limitCapacity`.
 *
 * Places the choices of `topK` where each expert takes at most `capacity` tokens of a segment. A
 * choice that is dropped has row -1 and adds nothing; its id and weight stay, and no other choice
 * gets its share.
 *
 * Switch serves in the order of `token` (arXiv:2101.03961, section 2.2), GShard and ST-MoE by
 * `choice` (arXiv:2006.16668, 2202.08906), V-MoE by `choice` or with batch priority
 * (arXiv:2106.05974, section 4). Rows are in token order inside an expert, whoever was served
 * first, so bits do not depend on the order.
 */
export interface LimitCapacityInputs {
  /** [T, K] i32, distinct for a token */
  ids: Tensor
  /** [T, K] f32, best first */
  weights: Tensor
  /** [B + 1] i32, from 0 to T: tokens that are routed together */
  segments: Tensor
  /** E */
  experts: number
  /** tokens of a segment that an expert takes */
  capacity: number
  order?: CapacityOrder | undefined
  /** choices after the first of at most this weight are dropped (GShard) */
  threshold?: number | undefined
}

/** What the op `limitCapacity` makes. */
export interface LimitCapacityOutputs {
  /** [T, K] i32, the row of each slot; -1: dropped */
  rows: Tensor
  /** [E + 1] i32, rows of expert e are offsets[e] to offsets[e + 1] */
  offsets: Tensor
}

/**
 * Places the choices of `topK` where each expert takes at most `capacity` tokens of a segment. A
 * choice that is dropped has row -1 and adds nothing; its id and weight stay, and no other choice
 * gets its share.
 */
export function limitCapacity(plan: Plan, inputs: LimitCapacityInputs): LimitCapacityOutputs {
  return plan.record('limitCapacity', inputs) as LimitCapacityOutputs
}
