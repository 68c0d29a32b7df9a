import type { Step } from '../models/architecture.ts'
import type { Activation, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Router, Routing } from '../routers/router.ts'

/** The experts of one layer, in the order of their ids. */
export interface Experts {
  kinds: readonly ops.ExpertKind[]
  /** One [2I, H] (gate first) or, for a plain activation, [I, H] for each FFN expert. */
  up: Weight[]
  /** One [H, I] for each FFN expert. */
  down: Weight[]
  activation: Activation
  /** Constant experts: their vectors [C, H] and gates [C, 2, H], f32. */
  constants?: { vectors: Tensor; gates: Tensor }
  /** Factor of the block's input as the experts see it; the router sees it unscaled. */
  inputScale?: number
}

/** Sparse feed-forward block: route, two grouped GEMMs over permuted rows, combine. */
export class MoeLayer {
  readonly #router: Router
  readonly #experts: Experts

  constructor(router: Router, experts: Experts) {
    this.#router = router
    this.#experts = experts
  }

  /**
   * input.x [T, H], the residual stream -> x + experts(norm(x)) [T, H].
   * `previous` is the routing of the layer below, for routers that read it.
   */
  forward(step: Step, input: ops.NormInput, previous?: Routing): { out: Tensor; routing: Routing } {
    const { plan, dtype } = step
    const { kinds, up, down, activation, constants, inputScale: scale = 1 } = this.#experts
    const routing = this.#router.route(plan, input, previous)
    const { normed: x, ids, weights, offsets, rows } = routing
    const grouped = { activation, rows, scale }
    const hidden = ops.groupedGemm(plan, x, offsets, up, dtype, grouped) //   [T * K, I]
    const expertOut = ops.groupedGemm(plan, hidden, offsets, down, dtype) //  [T * K, H]
    const out = ops.combine(plan, {
      ...{ expertOut, rows, ids, weights, residual: input.x, kinds, x, scale },
      ...(constants && { constants: constants.vectors, gates: constants.gates }),
    })
    step.trace.routing.push(routing)
    return { out, routing }
  }
}
