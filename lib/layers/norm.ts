import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Weights } from '../weights/weights.ts'
import type { Recording } from './step.ts'

/** x [T, H] f32 -> [T, H] in the activations' dtype */
export interface Norm {
  forward(step: Recording, x: Tensor): Tensor
}

/** Layer norm with a learned weight and bias (arXiv:1607.06450). */
export class LayerNorm implements Norm {
  readonly #affine: { weight: Tensor; bias: Tensor }
  readonly #eps: number

  constructor(
    weights: Weights,
    name: string,
    size: number,
    eps: number,
    parts: readonly [weight: string, bias: string] = ['.weight', '.bias'],
  ) {
    const [weight, bias] = parts.map((part) => weights.vector(`${name}${part}`, [size]))
    this.#affine = { weight: weight!, bias: bias! }
    this.#eps = eps
  }

  forward({ plan, dtype }: Recording, x: Tensor): Tensor {
    return ops.layerNorm(plan, { x, ...this.#affine, eps: this.#eps, dtype }).out
  }
}

/** Root mean square norm with a learned weight (arXiv:1910.07467). */
export class RmsNorm implements Norm {
  readonly #weight: Tensor
  readonly #eps: number

  constructor(weights: Weights, name: string, size: number, eps: number) {
    this.#weight = weights.vector(`${name}.weight`, [size])
    this.#eps = eps
  }

  forward({ plan, dtype }: Recording, x: Tensor): Tensor {
    return ops.rmsNorm(plan, { x, weight: this.#weight, eps: this.#eps, dtype }).out
  }
}
