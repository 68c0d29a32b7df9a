import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Router, Routing } from '../routers/router.ts'
import { rowsOf, slabOf, type Weights } from '../weights/weights.ts'
import type { FeedForward } from './decoder_layer.ts'
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

/** Names of an expert's three matrices. */
export interface ExpertNames {
  gate: string
  up: string
  down: string
}

/**
 * The weights of E SwiGLU experts, as either major version of transformers saves them: 4 has matrices for each
 * expert, 5 has those of all experts in two tensors.
 */
export function swigluExperts(
  weights: Weights,
  prefix: string,
  { count: E, hidden: H, size: I }: Record<'count' | 'hidden' | 'size', number>,
  names: ExpertNames = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
): Pick<Experts, 'gateUp' | 'down' | 'activation'> {
  const [gateUp, down] = ['gate_up_proj', 'down_proj'].map((name) => `${prefix}.${name}`)
  const one = (e: number, name: string, shape: number[]) =>
    rowsOf(`${prefix}.${e}.${name}.weight`, shape)
  const rows = weights.has(gateUp!)
    ? {
        gateUp: (e: number) => [slabOf(gateUp!, [E, 2 * I, H], e)],
        down: (e: number) => [slabOf(down!, [E, H, I], e)],
      }
    : {
        gateUp: (e: number) => [one(e, names.gate, [I, H]), one(e, names.up, [I, H])],
        down: (e: number) => [one(e, names.down, [H, I])],
      }
  const each = Array.from({ length: E }, (_, e) => e)
  return {
    gateUp: each.map((e) => weights.matrix(rows.gateUp(e), { gateUp: true, share: 'expert' })),
    down: each.map((e) => weights.matrix(rows.down(e), { share: 'expert' })),
    activation: 'swiglu',
  }
}

/** Sparse feed-forward block: route, two grouped GEMMs over permuted rows, combine. */
export class MoeLayer implements FeedForward {
  readonly info: ExpertInfo
  readonly #router: Router
  readonly #experts: Experts
  readonly #shared: FeedForward | undefined

  /** @param shared experts that every token has, one block beside the routed ones */
  constructor(router: Router, experts: Experts, shared?: FeedForward) {
    this.#router = router
    this.#experts = experts
    this.#shared = shared
    const { kinds, topK, gateUp, down } = experts
    const sizes = [...gateUp, ...down].map(({ shape }) => shape.reduce((n, dim) => n * dim, 1))
    this.info = {
      kinds,
      topK,
      groups: router.groups,
      parameters: sizes.reduce((n, size) => n + size, 0),
    }
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
    const routing = this.#router.route(plan, x, previous, step.choice)
    const sum = this.#shared?.forward(step, x, residual).out ?? residual
    const { ids, weights, offsets, rows } = routing
    const permuted = ops.permute(plan, { x, rows, scale }).out //                          [T * K, H]
    const up = { x: permuted, offsets, weights: gateUp, activation, dtype }
    const hidden = ops.groupedGemm(plan, up).out //                                        [T * K, I]
    const expertOut = ops.groupedGemm(plan, { x: hidden, offsets, weights: down, dtype }).out
    const chosen = { expertOut, rows, ids, weights, kinds }
    const { out } = ops.combine(plan, { ...chosen, residual: sum, x, scale, ...constants })
    return { out, routing }
  }
}
