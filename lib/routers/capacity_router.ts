import type { Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { RouteContext, Router, Routing, Scope } from './router.ts'

export interface CapacityOptions {
  experts: number
  topK: number
  /** How many tokens an expert takes of a segment of so many. */
  capacity(tokens: number): number
  /** Who is served first. */
  order: ops.CapacityOrder
  /** Choices after the first of at most this weight are dropped (GShard and ST-MoE, arXiv:2202.08906). */
  threshold?: number | undefined
}

/**
 * A router whose experts take only so many tokens of a segment: Switch (arXiv:2101.03961), GShard (2006.16668),
 * V-MoE (2106.05974). A choice that is dropped keeps id and weight and has row -1.
 */
export class CapacityRouter implements Router {
  readonly scope: Scope
  readonly #router: Router
  readonly #options: CapacityOptions

  constructor(router: Router, options: CapacityOptions) {
    this.#router = router
    this.#options = options
    const inOrder = options.order === 'token' || (options.order === 'choice' && options.topK === 1)
    this.scope = inOrder ? 'prefix' : 'segment'
  }

  route(plan: Plan, x: Tensor, context: RouteContext = {}): Routing {
    const routing = this.#router.route(plan, x, context)
    const { experts, capacity, order, threshold } = this.#options
    const { offsets, tokens } = context.segments!
    const taken = capacity(tokens)
    if (taken >= tokens && !threshold) return routing // room for all
    const { ids, weights } = routing
    const limits = { experts, capacity: taken, order, threshold }
    return {
      ...routing,
      ...ops.limitCapacity(plan, { ids, weights, segments: offsets, ...limits }),
    }
  }
}
