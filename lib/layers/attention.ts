import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Weights } from '../weights/weights.ts'
import type { Attention } from './decoder_layer.ts'
import { type Module, Projection } from './projection.ts'
import type { CacheSpecs, LayerCache, Step } from './step.ts'

export interface HeadShape {
  hidden: number
  heads: number
  keyValueHeads: number
  headSize: number
}

/** What `attend` keeps of each token. */
export function attentionCaches({
  keyValueHeads: heads,
  headSize: size,
}: Pick<HeadShape, 'keyValueHeads' | 'headSize'>): CacheSpecs<'keys' | 'values'> {
  return { keys: { kind: 'keys', heads, size }, values: { kind: 'values', heads, size } }
}

/**
 * Rotates q and k, writes k and v to the cache and attends to what `rule` shows. q [T, N * D] is rotated in place.
 *
 * @param norm of queries behind their rotation
 */
export function attend(
  { plan, positions, slots, visible, sequences, blockTable }: Step,
  { keys, values }: LayerCache<'keys' | 'values'>,
  rule: string,
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  table: Tensor,
  scale: number,
  sinks?: Tensor,
  norm?: Pick<ops.RmsNormInputs, 'weight' | 'eps' | 'dtype'>,
): Tensor {
  ops.ropeCache(plan, { q, k, v, positions, slots, table, keys, values })
  const where = { ...visible[rule]!, sequences, blockTable }
  const asked = norm ? ops.rmsNorm(plan, { x: q, ...norm }).out : q
  return ops.attention(plan, { q: asked, keys, values, sinks, ...where, scale }).out
}

/** Of the tensors of an attention block. */
export interface AttentionNames {
  /** Projections to queries, keys and values: each its own, or one that has them behind each other. */
  qkv: readonly [string] | readonly [q: string, k: string, v: string]
  out: string
  /** Norms of queries and keys. */
  norms: readonly [q: string, k: string]
}

const usual: AttentionNames = {
  qkv: ['q_proj', 'k_proj', 'v_proj'],
  out: 'o_proj',
  norms: ['q_norm', 'k_norm'],
}

export interface AttentionOptions extends HeadShape {
  /** Name of the visibility rule. */
  rule: string
  ropeTable: Tensor
  /** Default: as Llama and Qwen have them. */
  names?: AttentionNames
  /** The file rotates neighbours, and not a value and the one half of the rotated part on. Without norms of heads. */
  neighbours?: boolean
  /** Whether the projections have biases. */
  bias?: { qkv?: boolean; out?: boolean }
  /**
   * RMS norm of q and k before the rotation: over each head alone, or over all heads together; or over each head behind
   * the rotation, which may not change its length then.
   */
  qkNorm?: { over: 'head' | 'row' | 'rotated head'; eps: number } | undefined
  /** q, k and v are cut to [-clip, clip], behind the norms. */
  clip?: number | undefined
  /** Of the scores; default 1 / sqrt(headSize). */
  scale?: number | undefined
  /** Of what is added to the residual stream. */
  outputScale?: number | undefined
  /** A score of each head's own that takes its share of the softmax (gpt-oss). */
  sinks?: boolean
}

/** Grouped-query attention with rotary positions: one projection for q, k and v, one back. */
export class SelfAttention implements Attention {
  readonly caches: CacheSpecs<'keys' | 'values'>
  readonly modules: readonly Module[]
  readonly #options: AttentionOptions
  readonly #qkv: Projection
  readonly #out: Projection
  readonly #norms: { q: Tensor; k: Tensor } | undefined
  readonly #sinks: Tensor | undefined

  constructor(weights: Weights, prefix: string, options: AttentionOptions) {
    const { hidden: H, heads: N, keyValueHeads: G, headSize: D, bias = {}, qkNorm } = options
    this.caches = attentionCaches(options)
    this.#options = options
    const part = 'attention'
    const { names = usual, neighbours } = options
    const outputs = names.qkv.length === 1 ? [(N + 2 * G) * D] : [N * D, G * D, G * D]
    const parts = names.qkv.map(
      (name, i) => [name, outputs[i]!, neighbours && i < 2 ? D : undefined] as const,
    )
    this.#qkv = new Projection(weights, prefix, { parts, inputs: H, bias: bias.qkv, part })
    const out = { parts: [[names.out, H]], inputs: N * D, bias: bias.out, part } as const
    this.#out = new Projection(weights, prefix, out)
    // Adapters have their rows in the file's order.
    const inOrder = this.#qkv.modules.slice(neighbours ? 2 : 0)
    this.modules = [...inOrder, ...this.#out.modules]
    this.#sinks = options.sinks ? weights.vector(`${prefix}.sinks`, [N]) : undefined
    if (!qkNorm) return
    if (qkNorm.over === 'rotated head') {
      // The root mean square is the same on both sides of a rotation. The weights are not: those of keys go to queries.
      const [q, k] = names.norms.map((name) => `${prefix}.${name}.weight`)
      this.#norms = {
        q: weights.product([q!, k!], D),
        k: weights.constant(new Float32Array(D).fill(1), [D]),
      }
      return
    }
    const [q, k] = names.norms.map((name, i) => {
      const size = qkNorm.over === 'head' ? D : [N, G][i]! * D
      return weights.vector(`${prefix}.${name}.weight`, [size])
    })
    this.#norms = { q: q!, k: k! }
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(step: Step, x: Tensor, residual: Tensor, cache: LayerCache<'keys' | 'values'>): Tensor {
    const { plan, dtype } = step
    const { heads: N, keyValueHeads: G, headSize: D, rule, ropeTable, qkNorm, clip } = this.#options
    const { scale = 1 / Math.sqrt(D), outputScale } = this.#options
    const qkv = this.#qkv.forward(step, x, { dtype }) // [T, (N + 2G) * D]
    const norm = (weight: Tensor) => ({ weight, eps: qkNorm!.eps, dtype })
    const normed = (x: Tensor, weight: Tensor | undefined) =>
      weight ? ops.rmsNorm(plan, { x, ...norm(weight) }).out : x
    const behind = qkNorm?.over === 'rotated head' ? norm(this.#norms!.q) : undefined
    const q = normed(qkv.columns(0, N * D), behind ? undefined : this.#norms?.q)
    const k = normed(qkv.columns(N * D, G * D), this.#norms?.k)
    const v = qkv.columns((N + G) * D, G * D)
    if (clip !== undefined) for (const x of [q, k, v]) ops.clamp(plan, { x, limit: clip })
    const heads = { q, k, v }
    const mixed = attend(step, cache, rule, heads, ropeTable, scale, this.#sinks, behind) // [T, N * D]
    return this.#out.forward(step, mixed, { residual, scale: outputScale })
  }
}
