import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { FeedForward } from './decoder_layer.ts'
import type { Step } from './step.ts'

export interface DenseOptions {
  hidden: number
  /** Inner size. */
  size: number
}

/** SwiGLU block of every token (arXiv:2002.05202): down(silu(gate x) * up x). */
export class DenseLayer implements FeedForward {
  readonly #gateUp: Weight
  readonly #down: Weight

  constructor(weights: Weights, prefix: string, { hidden: H, size: I }: DenseOptions) {
    this.#gateUp = weights.matrix(
      [rowsOf(`${prefix}.gate_proj.weight`, [I, H]), rowsOf(`${prefix}.up_proj.weight`, [I, H])],
      { gateUp: true },
    )
    this.#down = weights.matrix([rowsOf(`${prefix}.down_proj.weight`, [H, I])])
  }

  forward({ plan, dtype }: Step, x: Tensor, residual: Tensor): { out: Tensor } {
    const up = { x, weight: this.#gateUp, activation: 'swiglu', dtype } as const
    const hidden = ops.linear(plan, up).out // [T, I]
    return ops.linear(plan, { x: hidden, weight: this.#down, residual })
  }
}
