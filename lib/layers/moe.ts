import type { Activation, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Router, Routing } from '../routers/router.ts'
import type { ExpertInfo, Step } from './step.ts'

/** The experts of one layer, in the order of their ids. */
export interface Experts {
  kinds: readonly ops.ExpertKind[]
  /** Experts that the router chooses for a token. */
  topK: number
  /** One packed [2I, H] (gate first) or, for a plain activation, [I, H] for each FFN expert. */
  up: Tensor[]
  /** One packed [H, I] for each FFN expert. */
  down: Tensor[]
  activation: Activation
  /** Constant experts: their vectors [C, H] and gates [C, 2, H], f32. */
  constants?: { vectors: Tensor; gates: Tensor }
  /** Factor of the block's input as the experts see it; the router sees it unscaled. */
  inputScale?: number
}

/** Sparse feed-forward block: route, two grouped GEMMs over permuted rows, combine. */
export class MoeLayer {
  readonly info: ExpertInfo
  readonly #router: Router
  readonly #experts: Experts

  constructor(router: Router, experts: Experts) {
    this.#router = router
    this.#experts = experts
    const { kinds, topK, up, down } = experts
    const sizes = [...up, ...down].map(({ shape }) => shape.reduce((n, dim) => n * dim, 1))
    this.info = { kinds, topK, parameters: sizes.reduce((n, size) => n + size, 0) }
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
    return { out, routing }
  }
}
