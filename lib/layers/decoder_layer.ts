import type { LayerCache, Step } from '../models/architecture.ts'
import type { ModelConfig } from '../models/config.ts'
import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Routing } from '../routers/router.ts'
import type { Weights } from '../weights/weights.ts'
import { SelfAttention } from './attention.ts'
import type { MoeLayer } from './moe.ts'

/** x [T, H] -> out [T, H]. `previous` is the routing of the layer below, for routers that read it. */
export interface Layer {
  forward(
    step: Step,
    x: Tensor,
    cache: LayerCache,
    previous?: Routing,
  ): { out: Tensor; routing: Routing }
}

/** The layers one above the other. */
export function runLayers(step: Step, x: Tensor, layers: Layer[]): Tensor {
  let routing: Routing | undefined
  for (const [l, layer] of layers.entries()) {
    ;({ out: x, routing } = layer.forward(step, x, step.cache[l]!, routing))
    step.trace.hiddenStates.push(x)
  }
  return x
}

/** Pre-norm decoder layer with grouped-query attention and an MoE block. */
export class DecoderLayer implements Layer {
  readonly #eps: number
  readonly #inputNorm: Tensor
  readonly #attention: SelfAttention
  readonly #postNorm: Tensor
  readonly #moe: MoeLayer

  constructor(weights: Weights, prefix: string, c: ModelConfig, ropeTable: Tensor, moe: MoeLayer) {
    const { hiddenSize: hidden, numHeads: heads, numKeyValueHeads: keyValueHeads, headSize } = c
    this.#eps = c.rmsNormEps
    this.#inputNorm = weights.vector(`${prefix}.input_layernorm.weight`, [hidden])
    this.#postNorm = weights.vector(`${prefix}.post_attention_layernorm.weight`, [hidden])
    const shape = { hidden, heads, keyValueHeads, headSize }
    this.#attention = new SelfAttention(weights, `${prefix}.self_attn`, shape, ropeTable)
    this.#moe = moe
  }

  forward(
    step: Step,
    x: Tensor,
    cache: LayerCache,
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
