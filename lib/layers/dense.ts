import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { FeedForward } from './decoder_layer.ts'
import type { Recording } from './step.ts'

export interface DenseOptions {
  hidden: number
  /** Inner size. */
  size: number
  /** Of its matrices; one name for gate and up: a tensor [2I, H], gate first. A plain activation has no gate. */
  names?: { gateUp: readonly string[]; down: string }
  /** Default `swiglu`. */
  activation?: ops.Activation | undefined
  /** Of what is added to the residual stream. */
  outputScale?: number | undefined
  /** Name of a vector g: the block is multiplied by sigmoid(x g), one number a token. */
  gate?: string | undefined
}

const usual = { gateUp: ['gate_proj', 'up_proj'], down: 'down_proj' }

/** Block of every token: down(silu(gate x) * up x) (SwiGLU, arXiv:2002.05202), or with another activation. */
export class DenseLayer implements FeedForward {
  readonly #gateUp: Weight
  readonly #down: Weight
  readonly #activation: ops.Activation
  readonly #outputScale: number | undefined
  readonly #gate: Weight | undefined

  constructor(weights: Weights, prefix: string, options: DenseOptions) {
    const { hidden: H, size: I, names = usual, activation = 'swiglu', outputScale, gate } = options
    const { gateUp, down } = names
    const gated = /glu/i.test(activation)
    const rows = ((gated ? 2 : 1) * I) / gateUp.length
    this.#gateUp = weights.matrix(
      gateUp.map((name) => rowsOf(`${prefix}.${name}.weight`, [rows, H])),
      { gateUp: gated },
    )
    this.#activation = activation
    this.#down = weights.matrix([rowsOf(`${prefix}.${down}.weight`, [H, I])])
    this.#outputScale = outputScale
    if (gate !== undefined)
      this.#gate = weights.matrix([rowsOf(`${gate}.weight`, [1, H])], { part: 'router' })
  }

  forward({ plan, dtype }: Recording, x: Tensor, residual: Tensor): { out: Tensor } {
    const up = { x, weight: this.#gateUp, activation: this.#activation, dtype }
    const hidden = ops.linear(plan, up).out // [T, I]
    const gate = this.#gate && ops.linear(plan, { x, weight: this.#gate, activation: 'sigmoid' })
    const factors = { rowScale: gate?.out, scale: this.#outputScale }
    return ops.linear(plan, { x: hidden, weight: this.#down, residual, ...factors })
  }
}
