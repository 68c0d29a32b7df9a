import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { CacheSpecs, LayerCache, Step } from './step.ts'

/** Epsilon of the filter's own norm; the published code fixes it, whatever rms_norm_eps says. */
const filterEps = 1e-6

type Names = 'filterInput' | 'filterMiddle'

/**
 * Yuan's localized filtering (arXiv:2405.17976, section 3; Yuan 2.0, arXiv:2311.15786): two causal two-tap
 * convolutions over time with full channel mixing, the filter's input added back, and a norm of its own.
 *
 *     c_t = W1[0] n_{t-1} + W1[1] n_t + b1        n_{-1} = 0
 *     y_t = W2[0] c_{t-1} + W2[1] c_t + b2        c_{-1} = 0: a zero vector, not b1
 *     f_t = rms_norm(y_t + n_t)
 *
 * It remembers n and c of the last token.
 */
export class LocalizedFilter {
  readonly caches: CacheSpecs<Names>
  readonly #taps: { weight: Weight; bias: Tensor }[]
  readonly #norm: Tensor

  constructor(weights: Weights, prefix: string, hidden: number) {
    this.caches = {
      filterInput: { kind: 'state', size: hidden },
      filterMiddle: { kind: 'state', size: hidden / 2 },
    }
    const conv = (name: string, out: number, inputs: number) => ({
      weight: weights.matrix([rowsOf(`${prefix}.${name}.weight`, [out, inputs, 2, 1])], {
        part: 'convolution',
      }),
      bias: weights.vector(`${prefix}.${name}.bias`, [out]),
    })
    this.#taps = [conv('conv1', hidden / 2, hidden), conv('conv2', hidden, hidden / 2)]
    this.#norm = weights.vector(`${prefix}.output_layernorm.weight`, [hidden])
  }

  /** n [T, H] in the activation dtype; exact, the same in f32 -> f [T, H] */
  forward(step: Step, n: Tensor, exact: Tensor, cache: LayerCache<Names>): Tensor {
    const { plan, dtype, positions, slots, sequences, blockTable } = step
    const at = { positions, slots, sequences, blockTable }
    const [first, second] = this.#taps
    const nn = ops.causalPair(plan, { x: n, state: cache.filterInput, ...at }).out //   [T, 2H]
    const c = ops.linear(plan, { x: nn, ...first!, dtype }).out //                      [T, H/2]
    const cc = ops.causalPair(plan, { x: c, state: cache.filterMiddle, ...at }).out //  [T, H]
    const y = ops.linear(plan, { x: cc, ...second!, residual: exact }).out
    return ops.rmsNorm(plan, { x: y, weight: this.#norm, eps: filterEps, dtype }).out
  }
}
