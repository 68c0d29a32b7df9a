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

/** Rotates q and k, writes k and v to the cache and attends to what `rule` shows. q [T, N * D] is rotated in place. */
export function attend(
  { plan, positions, slots, visible, sequences, blockTable }: Step,
  { keys, values }: LayerCache<'keys' | 'values'>,
  rule: string,
  { q, k, v }: { q: Tensor; k: Tensor; v: Tensor },
  table: Tensor,
  scale: number,
  sinks?: Tensor,
): Tensor {
  ops.ropeCache(plan, { q, k, v, positions, slots, table, keys, values })
  const where = { ...visible[rule]!, sequences, blockTable }
  return ops.attention(plan, { q, keys, values, sinks, ...where, scale }).out
}

export interface AttentionOptions extends HeadShape {
  /** Name of the visibility rule. */
  rule: string
  ropeTable: Tensor
  /** The file rotates neighbours, and not a value and the one half of the rotated part on. Without norms of heads. */
  neighbours?: boolean
  /** Whether the projections have biases. */
  bias?: { qkv?: boolean; out?: boolean }
  /** RMS norm of q and k before the rotation: over each head alone, or over all heads together. */
  qkNorm?: { over: 'head' | 'row'; eps: number } | undefined
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
    const size = options.neighbours ? D : undefined
    const parts = [
      ['q_proj', N * D, size],
      ['k_proj', G * D, size],
      ['v_proj', G * D],
    ] as const
    this.#qkv = new Projection(weights, prefix, { parts, inputs: H, bias: bias.qkv, part })
    const out = { parts: [['o_proj', H]], inputs: N * D, bias: bias.out, part } as const
    this.#out = new Projection(weights, prefix, out)
    // Adapters have their rows in the file's order.
    const inOrder = this.#qkv.modules.slice(options.neighbours ? 2 : 0)
    this.modules = [...inOrder, ...this.#out.modules]
    this.#sinks = options.sinks ? weights.vector(`${prefix}.sinks`, [N]) : undefined
    this.#norms = qkNorm && {
      q: weights.vector(`${prefix}.q_norm.weight`, [qkNorm.over === 'head' ? D : N * D]),
      k: weights.vector(`${prefix}.k_norm.weight`, [qkNorm.over === 'head' ? D : G * D]),
    }
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(step: Step, x: Tensor, residual: Tensor, cache: LayerCache<'keys' | 'values'>): Tensor {
    const { plan, dtype } = step
    const { heads: N, keyValueHeads: G, headSize: D, rule, ropeTable, qkNorm, clip } = this.#options
    const { scale = 1 / Math.sqrt(D), outputScale } = this.#options
    const qkv = this.#qkv.forward(step, x, { dtype }) // [T, (N + 2G) * D]
    const normed = (part: Tensor, weight: Tensor | undefined) =>
      weight ? ops.rmsNorm(plan, { x: part, weight, eps: qkNorm!.eps, dtype }).out : part
    const q = normed(qkv.columns(0, N * D), this.#norms?.q)
    const k = normed(qkv.columns(N * D, G * D), this.#norms?.k)
    const v = qkv.columns((N + G) * D, G * D)
    if (clip !== undefined) for (const x of [q, k, v]) ops.clamp(plan, { x, limit: clip })
    const mixed = attend(step, cache, rule, { q, k, v }, ropeTable, scale, this.#sinks) // [T, N * D]
    return this.#out.forward(step, mixed, { residual, scale: outputScale })
  }
}
