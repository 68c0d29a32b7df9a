import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
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
  headSize: number,
): Tensor {
  ops.ropeCache(plan, { q, k, v, positions, slots, table, keys, values })
  const where = { ...visible[rule]!, sequences, blockTable }
  return ops.attention(plan, { q, keys, values, ...where, scale: 1 / Math.sqrt(headSize) }).out
}

/** Grouped-query attention with rotary positions: one projection for q, k and v, one back. */
export class SelfAttention {
  readonly caches: CacheSpecs<'keys' | 'values'>
  readonly #shape: HeadShape
  readonly #qkv: Weight
  readonly #out: Weight
  readonly #ropeTable: Tensor
  readonly #rule: string

  /** @param rule name of the visibility rule */
  constructor(weights: Weights, prefix: string, shape: HeadShape, ropeTable: Tensor, rule: string) {
    const { hidden: H, heads: N, keyValueHeads: G, headSize: D } = shape
    this.caches = attentionCaches(shape)
    this.#shape = shape
    this.#qkv = weights.matrix([
      rowsOf(`${prefix}.q_proj.weight`, [N * D, H]),
      rowsOf(`${prefix}.k_proj.weight`, [G * D, H]),
      rowsOf(`${prefix}.v_proj.weight`, [G * D, H]),
    ])
    this.#out = weights.matrix([rowsOf(`${prefix}.o_proj.weight`, [H, N * D])])
    this.#ropeTable = ropeTable
    this.#rule = rule
  }

  /** x [T, H], normed; residual [T, H] f32 -> residual + attention(x) [T, H] */
  forward(step: Step, x: Tensor, residual: Tensor, cache: LayerCache<'keys' | 'values'>): Tensor {
    const { plan, dtype } = step
    const { heads: N, keyValueHeads: G, headSize: D } = this.#shape
    const qkv = ops.linear(plan, { x, weight: this.#qkv, dtype }).out // [T, (N + 2G) * D]
    const q = qkv.columns(0, N * D)
    const k = qkv.columns(N * D, G * D)
    const v = qkv.columns((N + G) * D, G * D)
    const mixed = attend(step, cache, this.#rule, { q, k, v }, this.#ropeTable, D) // [T, N * D]
    return ops.linear(plan, { x: mixed, weight: this.#out, residual }).out
  }
}
