import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { evenFirst, type Rows, rowsOf, type Weights } from '../weights/weights.ts'
import type { Attention } from './decoder_layer.ts'
import type { CacheSpecs, LayerCache, Step } from './step.ts'

/** Sizes of multi-head latent attention. */
export interface LatentShape {
  hidden: number
  heads: number
  /** Of the latent that queries come from; undefined: they come from the input. */
  queryRank: number | undefined
  /** C, of the latent that keys and values come from. */
  latentRank: number
  /** P, of a head's key and query without its rotated part. */
  keySize: number
  /** R, of the rotated part: a query head has its own, keys share one. */
  rotaryDim: number
  /** V, of a head's value. */
  valueSize: number
}

export interface LatentAttentionOptions extends LatentShape {
  /** Name of the visibility rule. */
  rule: string
  ropeTable: Tensor
  /** Of the scores. */
  scale: number
  /** Factor of the normed latent of keys and values. */
  latentScale?: number
  /** Whether the projections to the latents and the one back have biases. */
  bias: boolean
}

/** Of the latents' norms, whatever the model's other norms have. */
const eps = 1e-6

/**
 * Multi-head latent attention (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1) in its absorbed form: the cache has
 * the normed latent and the rotated key of a token, C + R values whatever the number of heads. What makes keys of
 * latents is applied to the queries, and what makes values of them to the attention's result.
 */
export class LatentAttention implements Attention {
  readonly caches: CacheSpecs<'latent'>
  readonly #options: LatentAttentionOptions
  /** To what queries come from, of this width, and to the latent of keys and values. */
  readonly #down: { weight: Weight; bias: Tensor | undefined }
  readonly #width: number
  /** To query heads, of the normed latent or the input; undefined: the first projection gives them. */
  readonly #query: { norm: Tensor | undefined; weight: Weight } | undefined
  readonly #norm: Tensor
  readonly #keys: Weight[]
  readonly #values: Weight[]
  readonly #out: { weight: Weight; bias: Tensor | undefined }

  constructor(weights: Weights, prefix: string, options: LatentAttentionOptions) {
    const { hidden: H, heads: N, queryRank: Q, latentRank: C, bias } = options
    const { keySize: P, rotaryDim: R, valueSize: V } = options
    this.#options = options
    this.caches = { latent: { kind: 'rows', size: C + R } }
    const name = (part: string) => `${prefix}.${part}.weight`
    const each = Array.from({ length: N }, (_, n) => n)

    // A head's rotated part first: that is what latentCache rotates.
    const heads = (part: string, width: number): Rows[] =>
      each.flatMap((n) => {
        const [shape, start] = [[N * (P + R), width], n * (P + R)]
        const unrotated = { name: name(part), shape, start, count: P }
        return [...evenFirst(name(part), shape, start + P, R), unrotated]
      })
    const latent = (end: string, ...width: number[]): Rows[] => {
      const [key, shape] = [`${prefix}.kv_a_proj_with_mqa.${end}`, [C + R, ...width]]
      return [{ name: key, shape, start: 0, count: C }, ...evenFirst(key, shape, C, R)]
    }
    // One matrix for all that is made of the input; but q_proj has no bias where the others have one.
    this.#width = Q ?? (bias ? 0 : N * (P + R))
    const first = Q ? [rowsOf(name('q_a_proj'), [Q, H])] : bias ? [] : heads('q_proj', H)
    const biases = [...(Q ? [rowsOf(`${prefix}.q_a_proj.bias`, [Q])] : []), ...latent('bias')]
    this.#down = {
      weight: weights.matrix([...first, ...latent('weight', H)], { part: 'attention' }),
      bias: bias ? weights.gathered(biases, [(Q ?? 0) + C + R]) : undefined,
    }
    if (Q || bias)
      this.#query = {
        norm: Q ? weights.vector(name('q_a_layernorm'), [Q]) : undefined,
        weight: weights.matrix(Q ? heads('q_b_proj', Q) : heads('q_proj', H), {
          part: 'attention',
        }),
      }
    this.#norm = weights.vector(name('kv_a_layernorm'), [C])
    const up = (n: number, first: number, count: number) => {
      const start = n * (P + V) + first
      return { name: name('kv_b_proj'), shape: [N * (P + V), C], start, count }
    }
    const both = weights.matrices(
      [...each.map((n) => [{ ...up(n, 0, P), turned: true }]), ...each.map((n) => [up(n, P, V)])],
      { part: 'latent' },
    )
    this.#keys = both.slice(0, N)
    this.#values = both.slice(N)
    this.#out = {
      weight: weights.matrix([rowsOf(name('o_proj'), [H, N * V])], { part: 'attention' }),
      bias: bias ? weights.vector(`${prefix}.o_proj.bias`, [H]) : undefined,
    }
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(
    step: Step,
    x: Tensor,
    residual: Tensor,
    { latent: cache }: LayerCache<'latent'>,
  ): Tensor {
    const { plan, dtype, positions, slots, visible, sequences, blockTable } = step
    const { heads, latentRank, rotaryDim, rule, ropeTable, scale } = this.#options
    // What is normed stays as it is summed; queries of the input's are ready.
    const made = this.#query?.norm ? 'f32' : dtype
    const down = ops.linear(plan, { x, ...this.#down, dtype: made }).out
    const q = this.#queries(step, x, down) //                                   [T, N * (R + P)]
    const latent = down.columns(this.#width, latentRank + rotaryDim) //          [T, C + R]
    const norm = { weight: this.#norm, eps, scale: this.#options.latentScale }
    ops.latentCache(plan, { q, latent, ...norm, heads, positions, slots, table: ropeTable, cache })
    const absorbed = ops.headLinear(plan, { x: q, weights: this.#keys, dtype }).out //  [T, N * C]
    const where = { ...visible[rule]!, sequences, blockTable }
    const mixed = ops.latentAttention(plan, { q, absorbed, heads, cache, ...where, scale }).out
    const values = ops.headLinear(plan, { x: mixed, weights: this.#values, dtype }).out // [T, N * V]
    return ops.linear(plan, { x: values, ...this.#out, residual }).out
  }

  #queries({ plan, dtype }: Step, x: Tensor, down: Tensor): Tensor {
    if (!this.#query) return down.columns(0, this.#width)
    const { norm, weight } = this.#query
    const normed = (weight: Tensor) =>
      ops.rmsNorm(plan, { x: down.columns(0, this.#width), weight, eps, dtype }).out
    return ops.linear(plan, { x: norm ? normed(norm) : x, weight, dtype }).out
  }
}
