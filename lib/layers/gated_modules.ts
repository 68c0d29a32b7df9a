import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Weights } from '../weights/weights.ts'
import type { FeedForward } from './decoder_layer.ts'
import { type Module, Projection } from './projection.ts'
import type { Recording } from './step.ts'

export interface GatedModulesOptions {
  hidden: number
  /** Inner size. */
  size: number
  gate: string
  up: string
  down: string
  activation: ops.Activation
}

/** The gated block of DenseLayer where adapters may add to its matrices: to gate and up before the activation. */
export class GatedModules implements FeedForward {
  readonly modules: readonly Module[]
  readonly #gateUp: Projection
  readonly #down: Projection
  readonly #activation: ops.Activation

  constructor(weights: Weights, prefix: string, options: GatedModulesOptions) {
    const { hidden, size, gate, up, down, activation } = options
    const part = 'dense'
    const parts = [gate, up].map((name) => [name, size] as const)
    this.#gateUp = new Projection(weights, prefix, { parts, inputs: hidden, part })
    this.#down = new Projection(weights, prefix, { parts: [[down, hidden]], inputs: size, part })
    this.modules = [...this.#gateUp.modules, ...this.#down.modules]
    this.#activation = activation
  }

  forward(step: Recording, x: Tensor, residual: Tensor): { out: Tensor } {
    const { plan, dtype } = step
    const sums = this.#gateUp.forward(step, x, {}) // [T, 2 I]
    const activation = this.#activation
    const hidden = ops.gatedUnit(plan, { x: sums, activation, dtype }).out // [T, I]
    return { out: this.#down.forward(step, hidden, { residual }) }
  }
}
