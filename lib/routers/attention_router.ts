import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Router, Routing } from './router.ts'

/**
 * Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1): each token projects to a query, a key and
 * a value per expert, and the experts attend to each other. No attention over time, despite the name.
 */
export class AttentionRouter implements Router {
  readonly #qkv: Tensor
  readonly #topK: number
  readonly #weights: 'renormalized' | 'softmax'

  constructor(
    weights: Weights,
    prefix: string,
    shape: { experts: number; hidden: number; topK: number; renormalize: boolean },
  ) {
    const names = ['query', 'key', 'value'].map((part) => `${prefix}.${part}.weight`)
    this.#qkv = weights.matrix(names.map((name) => rowsOf(name, [shape.experts, shape.hidden])))
    this.#topK = shape.topK
    this.#weights = shape.renormalize ? 'renormalized' : 'softmax'
  }

  route({ plan }: { plan: Plan }, x: Tensor): Routing {
    const qkv = ops.linear(plan, x, this.#qkv, 'f32') // [T, 3E]
    const logits = ops.attentionRouter(plan, qkv) //     [T, E]
    return { logits, ...ops.topK(plan, logits, { topK: this.#topK, weights: this.#weights }) }
  }
}
