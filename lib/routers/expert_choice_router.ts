import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Rows, Weights } from '../weights/weights.ts'
import type { RouteContext, Router, Routing } from './router.ts'

/** Experts choose the tokens of a segment that they like best (arXiv:2202.09368). */
export class ExpertChoiceRouter implements Router {
  readonly scope = 'segment'
  readonly #weight: Weight
  readonly #capacity: (tokens: number) => number

  /**
   * @param projection   [E, H]
   * @param capacity how many tokens an expert takes of a segment of so many
   */
  constructor(weights: Weights, projection: Rows, capacity: (tokens: number) => number) {
    this.#weight = weights.matrix([projection], { part: 'router' })
    this.#capacity = capacity
  }

  route(plan: Plan, x: Tensor, { segments }: RouteContext = {}): Routing {
    const logits = ops.linear(plan, { x, weight: this.#weight }).out // [T, E]
    const { offsets, tokens } = segments!
    const capacity = this.#capacity(tokens)
    return { logits, ...ops.expertChoice(plan, { logits, segments: offsets, capacity }) }
  }
}
