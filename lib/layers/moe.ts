import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Router, Routing } from '../routers/router.ts'
import type { ExpertInfo, Step } from './step.ts'

/** The experts of one layer, in the order of their ids. */
export interface Experts {
  kinds: readonly ops.ExpertKind[]
  /** Experts that the router chooses for a token. */
  topK: number
  /** One packed [2I, H] (gate first) or, for a plain activation, [I, H] for each FFN expert. */
  gateUp: Weight[]
  /** One packed [H, I] for each FFN expert. */
  down: Weight[]
  activation: ops.Activation
  /** Constant experts: their vectors [C, H] and gates [C, 2, H], f32. */
  constants?: { constants: Tensor; gates: Tensor }
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
    const { kinds, topK, gateUp, down } = experts
    const sizes = [...gateUp, ...down].map(({ shape }) => shape.reduce((n, dim) => n * dim, 1))
    this.info = { kinds, topK, parameters: sizes.reduce((n, size) => n + size, 0) }
  }

  /**
   * x [T, H], normed; residual [T, H] f32 -> residual + experts(x) [T, H].
   * `previous` is the routing of the layer below, for routers that read it.
   */
  forward(
    step: Step,
    x: Tensor,
    residual: Tensor,
    previous?: Routing,
  ): { out: Tensor; routing: Routing } {
    const { plan, dtype } = step
    const { kinds, gateUp, down, activation, constants, inputScale: scale = 1 } = this.#experts
    const routing = this.#router.route(plan, x, previous)
    const { ids, weights, offsets, rows } = routing
    const permuted = ops.permute(plan, { x, rows, scale }).out //                          [T * K, H]
    const up = { x: permuted, offsets, weights: gateUp, activation, dtype }
    const hidden = ops.groupedGemm(plan, up).out //                                        [T * K, I]
    const expertOut = ops.groupedGemm(plan, { x: hidden, offsets, weights: down, dtype }).out
    const chosen = { expertOut, rows, ids, weights, kinds }
    const { out } = ops.combine(plan, { ...chosen, residual, x, scale, ...constants })
    return { out, routing }
  }
}
