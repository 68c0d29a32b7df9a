import { type Module, Projection } from '../layers/projection.ts'
import type { CacheSpecs, LayerCache, Recording } from '../layers/step.ts'
import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Weights } from '../weights/weights.ts'
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

/** Some of an attention's matrices as one. */
function projection(
  weights: Weights,
  prefix: string,
  names: readonly ('q' | 'k' | 'v')[],
  { hiddenSize: inputs, numHeads, headSize }: Shape,
): Projection {
  const parts = names.map((name) => [name, numHeads * headSize] as const)
  return new Projection(weights, prefix, { parts, inputs, part: 'attention' })
}

/** The matrix behind the heads. */
function projectionBack(
  weights: Weights,
  prefix: string,
  { hiddenSize, numHeads, headSize }: Shape,
): Projection {
  const parts = [['o', hiddenSize]] as const
  return new Projection(weights, prefix, { parts, inputs: numHeads * headSize, part: 'attention' })
}

/** Attention of a text's tokens to each other, with what distance adds to scores. */
export class SelfAttention {
  readonly modules: readonly Module[]
  readonly #qkv: Projection
  readonly #out: Projection
  readonly #width: number

  constructor(weights: Weights, prefix: string, shape: Shape) {
    this.#out = projectionBack(weights, prefix, shape)
    this.#qkv = projection(weights, prefix, ['q', 'k', 'v'], shape)
    this.modules = [...this.#qkv.modules, ...this.#out.modules]
    this.#width = shape.numHeads * shape.headSize
  }

  /** x [T, H], normed; residual [T, H] f32; bias [N, distances] -> residual + attention(x) [T, H] */
  forward(
    step: Recording,
    x: Tensor,
    residual: Tensor,
    { slots, ...places }: Places,
    { keys, values }: KeyValueCache,
    bias: Tensor,
  ): Tensor {
    const { plan, dtype } = step
    const qkv = this.#qkv.forward(step, x, { dtype }) // [T, 3 * N * D]
    const [q, k, v] = [0, 1, 2].map((i) => qkv.columns(i * this.#width, this.#width)) as [
      ...[Tensor, Tensor, Tensor],
    ]
    ops.ropeCache(plan, { q, k, v, positions: places.positions, slots, keys, values })
    const mixed = ops.attention(plan, { q, keys, values, bias, ...places, scale }).out
    return this.#out.forward(step, mixed, { residual })
  }
}

/** Attention of a decoder's tokens to the encoder's output, whose keys and values are made once. */
export class CrossAttention {
  readonly modules: readonly Module[]
  readonly #q: Projection
  readonly #kv: Projection
  readonly #out: Projection
  readonly #width: number

  constructor(weights: Weights, prefix: string, shape: Shape) {
    this.#out = projectionBack(weights, prefix, shape)
    this.#q = projection(weights, prefix, ['q'], shape)
    this.#kv = projection(weights, prefix, ['k', 'v'], shape)
    this.modules = [this.#q, this.#kv, this.#out].flatMap(({ modules }) => modules)
    this.#width = shape.numHeads * shape.headSize
  }

  /** Keys and values of encoded [S, H] to their slots [S]. */
  keep(step: Recording, encoded: Tensor, slots: Tensor, cache: KeyValueCache): void {
    const { plan, dtype } = step
    const kv = this.#kv.forward(step, encoded, { dtype }) // [S, 2 * N * D]
    const k = kv.columns(0, this.#width)
    const v = kv.columns(this.#width, this.#width)
    ops.ropeCache(plan, { k, v, slots, ...cache })
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(
    step: Recording,
    x: Tensor,
    residual: Tensor,
    looks: Looks,
    { keys, values }: KeyValueCache,
  ): Tensor {
    const { plan, dtype } = step
    const q = this.#q.forward(step, x, { dtype }) // [T, N * D]
    const mixed = ops.attention(plan, { q, keys, values, ...looks, scale }).out
    return this.#out.forward(step, mixed, { residual })
  }
}
