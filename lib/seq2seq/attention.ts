import type { CacheSpecs, LayerCache, Recording } from '../layers/step.ts'
import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Seq2SeqConfig } from './config.ts'

export type KeyValueCache = LayerCache<'keys' | 'values'>

/** What rows of queries see: positions starts to ends of their text, and where those are. */
export interface Looks {
  /** [T] i32 */
  starts: Tensor
  ends: Tensor
  /** [T] i32, row of the block table */
  sequences: Tensor
  /** [B, M] i32 */
  blockTable: Tensor
}

/** Where the tokens of a stack stand, and what they see of each other. */
export interface Places extends Looks {
  /** [T] i32, in their text */
  positions: Tensor
  /** [T] i32, where their keys and values go */
  slots: Tensor
}

type Shape = Pick<Seq2SeqConfig, 'hiddenSize' | 'numHeads' | 'headSize'>

/** What a decoder layer keeps: its own keys and values, and in other blocks those of the encoder's output. */
export function cachesOf({
  numHeads: heads,
  headSize: size,
}: Shape): CacheSpecs<'keys' | 'values'> {
  return { keys: { kind: 'keys', heads, size }, values: { kind: 'values', heads, size } }
}

/** Scores are not divided by the root of the head size: its checkpoints have that in their weights. */
const scale = 1

/** The four matrices of an attention. */
class Projections {
  readonly #weights: Weights
  readonly #prefix: string
  readonly #hidden: number
  readonly width: number
  readonly out: Weight

  constructor(weights: Weights, prefix: string, { hiddenSize, numHeads, headSize }: Shape) {
    this.#weights = weights
    this.#prefix = prefix
    this.#hidden = hiddenSize
    this.width = numHeads * headSize
    const o = rowsOf(`${prefix}.o.weight`, [hiddenSize, this.width])
    this.out = weights.matrix([o], { part: 'attention' })
  }

  /** Some of q, k and v as one matrix. */
  joined(names: readonly string[]): Weight {
    const rows = (name: string) =>
      rowsOf(`${this.#prefix}.${name}.weight`, [this.width, this.#hidden])
    return this.#weights.matrix(names.map(rows), { part: 'attention' })
  }
}

/** Attention of a text's tokens to each other, with what distance adds to scores. */
export class SelfAttention {
  readonly #qkv: Weight
  readonly #out: Weight
  readonly #width: number

  constructor(weights: Weights, prefix: string, shape: Shape) {
    const projections = new Projections(weights, prefix, shape)
    this.#qkv = projections.joined(['q', 'k', 'v'])
    this.#out = projections.out
    this.#width = projections.width
  }

  /** x [T, H], normed; residual [T, H] f32; bias [N, distances] -> residual + attention(x) [T, H] */
  forward(
    { plan, dtype }: Recording,
    x: Tensor,
    residual: Tensor,
    { slots, ...places }: Places,
    { keys, values }: KeyValueCache,
    bias: Tensor,
  ): Tensor {
    const qkv = ops.linear(plan, { x, weight: this.#qkv, dtype }).out // [T, 3 * N * D]
    const [q, k, v] = [0, 1, 2].map((i) => qkv.columns(i * this.#width, this.#width)) as [
      ...[Tensor, Tensor, Tensor],
    ]
    ops.ropeCache(plan, { q, k, v, positions: places.positions, slots, keys, values })
    const mixed = ops.attention(plan, { q, keys, values, bias, ...places, scale }).out
    return ops.linear(plan, { x: mixed, weight: this.#out, residual }).out
  }
}

/** Attention of a decoder's tokens to the encoder's output, whose keys and values are made once. */
export class CrossAttention {
  readonly #q: Weight
  readonly #kv: Weight
  readonly #out: Weight
  readonly #width: number

  constructor(weights: Weights, prefix: string, shape: Shape) {
    const projections = new Projections(weights, prefix, shape)
    this.#q = projections.joined(['q'])
    this.#kv = projections.joined(['k', 'v'])
    this.#out = projections.out
    this.#width = projections.width
  }

  /** Keys and values of encoded [S, H] to their slots [S]. */
  keep({ plan, dtype }: Recording, encoded: Tensor, slots: Tensor, cache: KeyValueCache): void {
    const kv = ops.linear(plan, { x: encoded, weight: this.#kv, dtype }).out // [S, 2 * N * D]
    const k = kv.columns(0, this.#width)
    const v = kv.columns(this.#width, this.#width)
    ops.ropeCache(plan, { k, v, slots, ...cache })
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(
    { plan, dtype }: Recording,
    x: Tensor,
    residual: Tensor,
    looks: Looks,
    { keys, values }: KeyValueCache,
  ): Tensor {
    const q = ops.linear(plan, { x, weight: this.#q, dtype }).out // [T, N * D]
    const mixed = ops.attention(plan, { q, keys, values, ...looks, scale }).out
    return ops.linear(plan, { x: mixed, weight: this.#out, residual }).out
  }
}
