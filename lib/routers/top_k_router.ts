import type { Plan, Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { type Rows, rowsOf, type Weights } from '../weights/weights.ts'
import type { ChoiceInputs, ExpertGroups, RouteContext, Router, Routing } from './router.ts'

export interface TopKRouterOptions
  extends Pick<ops.TopKInputs, 'kinds' | 'topK' | 'score' | 'weights' | 'factor' | 'jitter'> {
  hidden: number
  /** A layer [size, H] with tanh in front of the projection, which is [E, size] then. */
  tanh?: { name: string; size: number } | undefined
  /** Name of the logits' bias [E]. */
  bias?: string | undefined
  /** Name of the bias [E] of scores that only moves the choice, or its rows where a file has it otherwise. */
  choiceBias?: string | Rows | undefined
  /** A token chooses from the `kept` best of `count` groups of neighbouring experts. */
  groups?: ExpertGroups | undefined
}

const asRows = (name: string | Rows, shape: number[]): Rows =>
  typeof name === 'string' ? rowsOf(name, shape) : name

/**
 * A projection, perhaps of a layer with tanh (LLaMA-MoE), and `topK`: softmax or sigmoid scores, a bias of the choice, groups, a factor. Mixtral's router
 * (arXiv:2401.04088, section 2.1) is `weights: 'renormalized'` and nothing else.
 */
export class TopKRouter implements Router {
  readonly scope = 'token'
  readonly groups: ExpertGroups | undefined
  readonly #tanh: Weight | undefined
  readonly #weight: Weight
  readonly #bias: Tensor | undefined
  readonly #choice: Omit<ops.TopKInputs, 'logits' | keyof ChoiceInputs>

  /** @param projection the name of the projection [E, H], or its rows where a file has it otherwise */
  constructor(
    weights: Weights,
    projection: string | Rows,
    { hidden, tanh, bias, choiceBias, groups, ...options }: TopKRouterOptions,
  ) {
    const E = options.kinds.length
    this.groups = groups
    this.#tanh =
      tanh && weights.matrix([rowsOf(tanh.name, [tanh.size, hidden])], { part: 'router' })
    const rows = asRows(projection, [E, tanh?.size ?? hidden])
    this.#weight = weights.matrix([rows], { part: 'router' })
    this.#bias = bias === undefined ? undefined : weights.vector(bias, [E])
    this.#choice = {
      ...options,
      choiceBias:
        choiceBias === undefined ? undefined : weights.gathered([asRows(choiceBias, [E])], [E]),
      ...(groups && { groups: groups.count, keptGroups: groups.kept, groupScore: groups.score }),
    }
  }

  route(plan: Plan, x: Tensor, { choice }: RouteContext = {}): Routing {
    const inner = this.#tanh && ops.linear(plan, { x, weight: this.#tanh, activation: 'tanh' }).out
    const last = { x: inner ?? x, weight: this.#weight, bias: this.#bias }
    const logits = ops.linear(plan, last).out // [T, E]
    return { logits, ...ops.topK(plan, { logits, ...this.#choice, ...choice }) }
  }
}
