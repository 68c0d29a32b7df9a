import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { columnsOf, rowsOf, type Weights } from '../weights/weights.ts'
import type { Recording } from './step.ts'

/** Where an encoder's keys and values are between their projection and attention: one block table row a segment. */
export interface EncoderPlaces {
  /** [blocks, N, D, 32] and [blocks, N, 32, D], used by one layer after the other */
  keys: Tensor
  values: Tensor
  /** [T] i32: place of each token in them */
  slots: Tensor
  /** [T] i32 */
  sequences: Tensor
  /** [B, blocks of a segment] i32 */
  blockTable: Tensor
  /** [T] i32: first and last position of the token's segment */
  starts: Tensor
  ends: Tensor
}

export interface EncoderAttentionOptions {
  hidden: number
  heads: number
  headSize: number
  /** Layer norm of each head of q and k, with a scale. */
  qkNorm: boolean
}

const eps = 1e-6

/**
 * Attention of all tokens of a segment to each other, with biases, in the layout of Flax: kernels [H, heads, d] and
 * [heads, d, H] (arXiv:1706.03762; qk norm arXiv:2302.05442).
 */
export class EncoderAttention {
  readonly #options: EncoderAttentionOptions
  readonly #q: { weight: Weight; bias: Tensor }
  readonly #kv: { weight: Weight; bias: Tensor }
  readonly #out: { weight: Weight; bias: Tensor }
  readonly #norms: { q: Tensor; k: Tensor } | undefined

  constructor(weights: Weights, prefix: string, options: EncoderAttentionOptions) {
    const { hidden: H, heads: N, headSize: D, qkNorm } = options
    this.#options = options
    const projection = (names: string[]) => ({
      weight: weights.matrix(
        names.map((name) => columnsOf(`${prefix}/${name}/kernel`, [H, N, D])),
        { part: 'attention' },
      ),
      bias: weights.gathered(
        names.map((name) => rowsOf(`${prefix}/${name}/bias`, [N, D])),
        [names.length * N * D],
      ),
    })
    this.#q = projection(['query'])
    this.#kv = projection(['key', 'value'])
    this.#out = {
      weight: weights.matrix([columnsOf(`${prefix}/out/kernel`, [N, D, H], { inner: 2 })], {
        part: 'attention',
      }),
      bias: weights.vector(`${prefix}/out/bias`, [H]),
    }
    if (qkNorm)
      this.#norms = {
        q: weights.vector(`${prefix}/query_ln/scale`, [D]),
        k: weights.vector(`${prefix}/key_ln/scale`, [D]),
      }
  }

  /**
   * x [T, H], normed -> attention(x) [T, H] f32, plus `residual` where there is one.
   *
   * @param queries who asks, if others than x's tokens: rows [Q, H], and where they look
   */
  forward(
    { plan, dtype }: Recording,
    x: Tensor,
    places: EncoderPlaces,
    { residual, queries }: { residual?: Tensor; queries?: { x: Tensor; places: Looks } } = {},
  ): Tensor {
    const { heads: N, headSize: D } = this.#options
    const normed = (part: Tensor, weight: Tensor | undefined) =>
      weight ? ops.layerNorm(plan, { x: part, weight, eps, dtype }).out : part
    const kv = ops.linear(plan, { x, ...this.#kv, dtype }).out // [T, 2 N D]
    const k = normed(kv.columns(0, N * D), this.#norms?.k)
    const v = kv.columns(N * D, N * D)
    const asked = ops.linear(plan, { x: queries?.x ?? x, ...this.#q, dtype }).out
    const q = normed(asked, this.#norms?.q)
    const { keys, values, slots } = places
    ops.ropeCache(plan, { k, v, slots, keys, values })
    const { starts, ends, sequences } = queries?.places ?? places
    const where = { starts, ends, sequences, blockTable: places.blockTable }
    const mixed = ops.attention(plan, { q, keys, values, ...where, scale: 1 / Math.sqrt(D) }).out
    return ops.linear(plan, { x: mixed, ...this.#out, residual }).out
  }
}

/** What rows of queries see: a segment each. */
export type Looks = Pick<EncoderPlaces, 'starts' | 'ends' | 'sequences'>
