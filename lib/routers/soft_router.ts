import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Weights } from '../weights/weights.ts'
import type { RouteContext, Router, SoftRouting } from './router.ts'

/** Soft MoE (arXiv:2308.00951): no choice, every slot of an expert is a mix of all tokens of a segment. */
export class SoftRouter implements Router<SoftRouting> {
  readonly scope = 'segment'
  readonly #slots: Tensor
  readonly #scale: Tensor

  /** @param names of the slots' directions [H, E, slots] and of their scale */
  constructor(
    weights: Weights,
    names: { slots: string; scale: string },
    { hidden: H, experts, slots }: Record<'hidden' | 'experts' | 'slots', number>,
  ) {
    const rows = { name: names.slots, shape: [H, experts, slots], start: 0, count: H }
    this.#slots = weights.gathered([rows], [H, experts * slots])
    this.#scale = weights.gathered([{ name: names.scale, shape: [1], start: 0, count: 1 }], [1])
  }

  route(plan: Plan, x: Tensor, { segments }: RouteContext = {}): SoftRouting {
    const { logits } = ops.softLogits(plan, { x, slots: this.#slots, scale: this.#scale }) // [T, S]
    return { logits, ...ops.softWeights(plan, { logits, segments: segments!.offsets }) }
  }
}
