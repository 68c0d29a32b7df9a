import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Routing } from '../routers/router.ts'
import type { Weights } from '../weights/weights.ts'
import { SelfAttention } from './attention.ts'
import type { MoeLayer } from './moe.ts'
import type { CacheSpecs, ExpertInfo, Layer, LayerCache, Step } from './step.ts'

/** The layers one above the other. */
export function runLayers(step: Step, x: Tensor, layers: Layer[]): Tensor {
  let previous: Routing | undefined
  for (const [l, layer] of layers.entries()) {
    const { out, routing } = layer.forward(step, x, step.caches[l]!, previous)
    step.trace.hiddenStates.push(out)
    step.trace.routing.push(routing)
    previous = routing ?? previous
    x = out
  }
  return x
}

export interface DecoderShape {
  hiddenSize: number
  numHeads: number
  numKeyValueHeads: number
  headSize: number
  rmsNormEps: number
}

/** Pre-norm decoder layer with grouped-query attention and an MoE block. */
export class DecoderLayer implements Layer {
  readonly caches: CacheSpecs<'keys' | 'values'>
  readonly experts: ExpertInfo
  readonly #eps: number
  readonly #inputNorm: Tensor
  readonly #attention: SelfAttention
  readonly #postNorm: Tensor
  readonly #moe: MoeLayer

  /** @param rule name of the attention's visibility rule */
  constructor(
    weights: Weights,
    prefix: string,
    c: DecoderShape,
    { ropeTable, rule, moe }: { ropeTable: Tensor; rule: string; moe: MoeLayer },
  ) {
    const { hiddenSize: hidden, numHeads: heads, numKeyValueHeads: keyValueHeads, headSize } = c
    this.#eps = c.rmsNormEps
    this.#inputNorm = weights.vector(`${prefix}.input_layernorm.weight`, [hidden])
    this.#postNorm = weights.vector(`${prefix}.post_attention_layernorm.weight`, [hidden])
    const shape = { hidden, heads, keyValueHeads, headSize }
    this.#attention = new SelfAttention(weights, `${prefix}.self_attn`, shape, ropeTable, rule)
    this.caches = this.#attention.caches
    this.#moe = moe
    this.experts = moe.info
  }

  forward(
    step: Step,
    x: Tensor,
    cache: LayerCache<'keys' | 'values'>,
    previous?: Routing,
  ): { out: Tensor; routing: Routing } {
    const { plan, dtype } = step
    const eps = this.#eps
    const n = ops.rmsNorm(plan, { x, weight: this.#inputNorm, eps, dtype }).out
    const h = this.#attention.forward(step, n, x, cache) //                       [T, H]
    const m = ops.rmsNorm(plan, { x: h, weight: this.#postNorm, eps, dtype }).out
    return this.#moe.forward(step, m, h, previous)
  }
}
