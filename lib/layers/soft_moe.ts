import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Router, SoftRouting } from '../routers/router.ts'
import { type Experts, parametersOf } from './moe.ts'
import type { ExpertInfo, Recording } from './step.ts'

/** Soft MoE block (arXiv:2308.00951): slots are mixes of tokens, and tokens get mixes of what experts make of slots. */
export class SoftMoeLayer {
  readonly info: ExpertInfo
  readonly #router: Router<SoftRouting>
  readonly #experts: Pick<Experts, 'gateUp' | 'down' | 'biases' | 'activation'>

  constructor(
    router: Router<SoftRouting>,
    experts: Pick<Experts, 'gateUp' | 'down' | 'biases' | 'activation'>,
  ) {
    this.#router = router
    this.#experts = experts
    const { gateUp } = experts
    this.info = {
      kinds: gateUp.map(() => 'ffn'),
      topK: gateUp.length, // a token has a share of all
      scope: router.scope,
      parameters: parametersOf(experts),
    }
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + experts(x) [T, H] */
  forward(step: Recording, x: Tensor, residual: Tensor): { out: Tensor; soft: SoftRouting } {
    const { plan, dtype } = step
    const { gateUp, down, biases, activation } = this.#experts
    const soft = this.#router.route(plan, x, step)
    const common = { segments: step.segments!.offsets, experts: gateUp.length }
    const { out: slots, offsets } = ops.softDispatch(plan, { x, weights: soft.dispatch, ...common })
    const up = { x: slots, offsets, weights: gateUp, biases: biases?.gateUp, activation, dtype }
    const hidden = ops.groupedGemm(plan, up).out // [S, I]
    const back = { x: hidden, offsets, weights: down, biases: biases?.down, dtype }
    const expertOut = ops.groupedGemm(plan, back).out // [S, H]
    const mixed = { expertOut, weights: soft.combine, residual, ...common }
    return { ...ops.softCombine(plan, mixed), soft }
  }
}
