import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Router, Routing } from './router.ts'

/** Mixtral's router (arXiv:2401.04088, section 2.1): softmax over the K largest of `x Wg^T`. */
export class SoftmaxTopK implements Router {
  readonly #weight: Weight
  readonly #choice: { kinds: readonly ops.ExpertKind[]; topK: number }

  constructor(
    weights: Weights,
    name: string,
    shape: { kinds: readonly ops.ExpertKind[]; hidden: number; topK: number },
  ) {
    const { kinds, hidden, topK } = shape
    this.#weight = weights.matrix([rowsOf(name, [kinds.length, hidden])])
    this.#choice = { kinds, topK }
  }

  route(plan: Plan, x: Tensor): Routing {
    const logits = ops.linear(plan, { x, weight: this.#weight }).out // [T, E]
    return { logits, ...ops.topK(plan, { logits, ...this.#choice, weights: 'renormalized' }) }
  }
}
