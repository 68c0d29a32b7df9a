import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Router, Routing } from './router.ts'

/** Mixtral's router (arXiv:2401.04088, section 2.1): softmax over the K largest of `x Wg^T`. */
export class SoftmaxTopK implements Router {
  readonly #weight: Tensor
  readonly #topK: number

  constructor(
    weights: Weights,
    name: string,
    shape: { experts: number; hidden: number; topK: number },
  ) {
    this.#weight = weights.matrix([rowsOf(name, [shape.experts, shape.hidden])])
    this.#topK = shape.topK
  }

  route({ plan }: { plan: Plan }, x: Tensor): Routing {
    const logits = ops.linear(plan, x, this.#weight, 'f32') // [T, E]
    return { logits, ...ops.topK(plan, logits, { topK: this.#topK, weights: 'renormalized' }) }
  }
}
