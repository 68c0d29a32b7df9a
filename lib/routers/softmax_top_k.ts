import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Router, Routing } from './router.ts'

/**
 * The K largest of `x Wg^T`, weighed by softmax: over the chosen (`renormalized`: Mixtral, arXiv:2401.04088,
 * section 2.1) or over all (`softmax`: OLMoE, arXiv:2409.02060).
 */
export class SoftmaxTopK implements Router {
  readonly #weight: Weight
  readonly #choice: Omit<ops.TopKInputs, 'logits'>

  constructor(
    weights: Weights,
    name: string,
    shape: {
      kinds: readonly ops.ExpertKind[]
      hidden: number
      topK: number
      weights?: ops.TopKWeights
    },
  ) {
    const { kinds, hidden, topK, weights: weighed = 'renormalized' } = shape
    this.#weight = weights.matrix([rowsOf(name, [kinds.length, hidden])], { part: 'router' })
    this.#choice = { kinds, topK, weights: weighed }
  }

  route(plan: Plan, x: Tensor): Routing {
    const logits = ops.linear(plan, { x, weight: this.#weight }).out // [T, E]
    return { logits, ...ops.topK(plan, { logits, ...this.#choice }) }
  }
}
