import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Router, Routing } from '../routers/router.ts'
import { count, type Rows, rowsOf, slabOf, type Weights } from '../weights/weights.ts'
import type { FeedForward } from './decoder_layer.ts'
import type { ExpertInfo, Recording } from './step.ts'

/** The experts of one layer, in the order of their ids. */
export interface Experts {
  kinds: readonly ops.ExpertKind[]
  /** Experts that the router chooses for a token. */
  topK: number
  /** One packed [2I, H] (gate first) or, for a plain activation, [I, H] for each FFN expert. */
  gateUp: Weight[]
  /** One packed [H, I] for each FFN expert. */
  down: Weight[]
  /** f32, one row an expert, in the order of its matrix's rows: [E, 2I] and [E, H]. */
  biases?: { gateUp: Tensor; down: Tensor }
  activation: ops.Activation
  /** Of swigluClamped. */
  limit?: number
  /** Constant experts: their vectors [C, H] and gates [C, 2, H], f32. */
  constants?: { constants: Tensor; gates: Tensor }
  /** Factor of the block's input as the experts see it; the router sees it unscaled. */
  inputScale?: number
  /** Factor of what the experts add to the residual stream. */
  outputScale?: number | undefined
  /** Of all experts, where their matrices are padded. */
  parameters?: number
}

type ExpertShape = Record<'count' | 'hidden' | 'size', number>
type SwigluExperts = Pick<Experts, 'gateUp' | 'down' | 'activation'>

/** Names of an expert's three matrices. */
export interface ExpertNames {
  gate: string
  up: string
  down: string
}

/**
 * The weights of SwiGLU experts.
 *
 * @param rows of each expert's matrices
 */
export function packedExperts(
  weights: Weights,
  count: number,
  rows: { gateUp(e: number): Rows[]; down(e: number): Rows[] },
): SwigluExperts {
  const each = Array.from({ length: count }, (_, e) => e)
  return {
    gateUp: each.map((e) => weights.matrix(rows.gateUp(e), { gateUp: true, share: 'expert' })),
    down: each.map((e) => weights.matrix(rows.down(e), { share: 'expert' })),
    activation: 'swiglu',
  }
}

/** The weights of E SwiGLU experts in two tensors: gate rows, then up rows [E, 2I, H], and down [E, H, I]. */
export function stackedExperts(
  weights: Weights,
  { gateUp, down }: Record<'gateUp' | 'down', string>,
  { count: E, hidden: H, size: I }: ExpertShape,
): SwigluExperts {
  return packedExperts(weights, E, {
    gateUp: (e) => [slabOf(gateUp, [E, 2 * I, H], e)],
    down: (e) => [slabOf(down, [E, H, I], e)],
  })
}

/**
 * The weights of E SwiGLU experts, as either major version of transformers saves them: 4 has matrices for each
 * expert, 5 has those of all experts in two tensors.
 */
export function swigluExperts(
  weights: Weights,
  prefix: string,
  shape: ExpertShape,
  names: ExpertNames = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
): SwigluExperts {
  const stacked = { gateUp: `${prefix}.gate_up_proj`, down: `${prefix}.down_proj` }
  if (weights.has(stacked.gateUp)) return stackedExperts(weights, stacked, shape)
  const { count, hidden: H, size: I } = shape
  const one = (e: number, name: string, of: number[]) => rowsOf(`${prefix}.${e}.${name}.weight`, of)
  return packedExperts(weights, count, {
    gateUp: (e) => [one(e, names.gate, [I, H]), one(e, names.up, [I, H])],
    down: (e) => [one(e, names.down, [H, I])],
  })
}

/** Numbers of all experts' weights. */
export function parametersOf({ gateUp, down, biases }: Omit<Experts, 'kinds' | 'topK'>): number {
  const parts = [...gateUp, ...down, ...(biases ? [biases.gateUp, biases.down] : [])]
  return parts.reduce((sum, { shape }) => sum + count(shape), 0)
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
    const { kinds, topK, parameters = parametersOf(experts) } = experts
    const { groups, scope } = router
    this.info = { kinds, topK, groups, scope, shared: shared !== undefined, parameters }
  }

  /**
   * x [T, H], normed; residual [T, H] f32 -> residual + experts(x) [T, H].
   * `previous` is the routing of the layer below, for routers that read it.
   */
  forward(
    step: Recording,
    x: Tensor,
    residual: Tensor,
    previous?: Routing,
  ): { out: Tensor; routing: Routing } {
    const { plan, dtype } = step
    const { kinds, gateUp, down, biases, activation, limit, constants } = this.#experts
    const { inputScale: scale = 1, outputScale: factor } = this.#experts
    const routing = this.#router.route(plan, x, { ...step, previous })
    const sum = this.#shared?.forward(step, x, residual).out ?? residual
    const { ids, weights, offsets, rows } = routing
    const permuted = ops.permute(plan, { x, rows, scale }).out //                          [T * K, H]
    const up = { x: permuted, weights: gateUp, biases: biases?.gateUp, activation, limit }
    const hidden = ops.groupedGemm(plan, { ...up, offsets, dtype }).out //                 [T * K, I]
    const back = { x: hidden, weights: down, biases: biases?.down }
    const expertOut = ops.groupedGemm(plan, { ...back, offsets, dtype }).out //            [T * K, H]
    const chosen = { expertOut, rows, ids, weights, kinds }
    const { out } = ops.combine(plan, { ...chosen, residual: sum, x, scale, factor, ...constants })
    return { out, routing }
  }
}
