import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { ChoiceInputs, RouteContext, Router, Routing } from './router.ts'

export interface ResidualRouterOptions {
  kinds: readonly ops.ExpertKind[]
  hidden: number
  topK: number
  /** Two projections with tanh between them instead of one. */
  twoLayers: boolean
  /** Logits norm: target standard deviation; 0 for none. */
  normStd: number
  /** Experts that give their share to the other chosen ones (zero experts in standard gating). */
  givesShare: boolean[] | undefined
}

/**
 * MoE++'s router (arXiv:2410.07348, section 3.3): a linear map of the layer below's router logits is added
 * to this layer's. What is carried on are the raw accumulated logits, before norm and softmax.
 *
 * Two references disagree on the weights: the paper's equation 1 does not renormalise them and lets the zero
 * expert keep its share; the published code, which the released model runs, does and does not. We follow the code.
 */
export class ResidualRouter implements Router {
  readonly scope = 'token'
  readonly #layers: Weight[]
  readonly #gateMap: Weight
  readonly #choice: Omit<ops.TopKInputs, 'logits' | keyof ChoiceInputs>

  constructor(weights: Weights, prefix: string, options: ResidualRouterOptions) {
    const { kinds, hidden: H, topK, normStd } = options
    const E = kinds.length
    this.#layers = options.twoLayers
      ? [
          weights.matrix([rowsOf(`${prefix}.wg.0.weight`, [8 * E, H])], { part: 'router' }),
          weights.matrix([rowsOf(`${prefix}.wg.2.weight`, [E, 8 * E])], { part: 'router' }),
        ]
      : [weights.matrix([rowsOf(`${prefix}.wg.weight`, [E, H])], { part: 'router' })]
    // Stored in the first layer too, which has nothing below it.
    this.#gateMap = weights.matrix([rowsOf(`${prefix}.gate_map.weight`, [E, E])], {
      part: 'router',
    })
    const { givesShare } = options
    this.#choice = { kinds, topK, weights: 'renormalized', normStd, givesShare }
  }

  route(plan: Plan, x: Tensor, { previous, choice }: RouteContext = {}): Routing {
    const [first, second] = this.#layers
    const carried = previous && ops.linear(plan, { x: previous.logits, weight: this.#gateMap }).out // [T, E]
    const hidden = second && ops.linear(plan, { x, weight: first!, activation: 'tanh' }).out // [T, 8E]
    const last = { x: hidden ?? x, weight: second ?? first!, residual: carried }
    const logits = ops.linear(plan, last).out // [T, E]
    return { logits, ...ops.topK(plan, { logits, ...this.#choice, ...choice }) }
  }
}
