import type { Plan, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Router, Routing } from './router.ts'

/** Mixtral's router (arXiv:2401.04088, section 2.1): softmax over the K largest of `x Wg^T`. */
export class SoftmaxTopK implements Router {
  readonly #weight: Weight
  readonly #choice: ops.TopKOptions

  constructor(
    weights: Weights,
    name: string,
    shape: { kinds: readonly ops.ExpertKind[]; hidden: number; topK: number },
  ) {
    const { kinds, hidden, topK } = shape
    this.#weight = weights.matrix([rowsOf(name, [kinds.length, hidden])])
    this.#choice = { kinds, topK, weights: 'renormalized' }
  }

  route(plan: Plan, input: ops.NormInput): Routing {
    return ops.route(plan, input, this.#weight, this.#choice)
  }
}
