import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { ChoiceInputs, RouteContext, Router, Routing } from './router.ts'

/**
 * Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1): each token projects to a query, a key and
 * a value per expert, and the experts attend to each other. No attention over time, despite the name.
 */
export class AttentionRouter implements Router {
  readonly scope = 'token'
  readonly #qkv: Weight
  readonly #choice: Omit<ops.TopKInputs, 'logits' | keyof ChoiceInputs>

  constructor(
    weights: Weights,
    prefix: string,
    shape: {
      kinds: readonly ops.ExpertKind[]
      hidden: number
      topK: number
      renormalize: boolean
    },
  ) {
    const names = ['query', 'key', 'value'].map((part) => `${prefix}.${part}.weight`)
    const { kinds, hidden, topK, renormalize } = shape
    this.#qkv = weights.matrix(
      names.map((name) => rowsOf(name, [kinds.length, hidden])),
      { part: 'router' },
    )
    this.#choice = { kinds, topK, weights: renormalize ? 'renormalized' : 'scores' }
  }

  route(plan: Plan, x: Tensor, { choice }: RouteContext = {}): Routing {
    const qkv = ops.linear(plan, { x, weight: this.#qkv }).out //    [T, 3E]
    const { logits } = ops.attentionRouter(plan, { qkv }) //         [T, E]
    return { logits, ...ops.topK(plan, { logits, ...this.#choice, ...choice }) }
  }
}
