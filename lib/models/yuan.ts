import { attend, attentionCaches } from '../layers/attention.ts'
import { Decoder } from '../layers/decoder.ts'
import { Vocabulary } from '../layers/head.ts'
import { LocalizedFilter } from '../layers/localized_filter.ts'
import { MoeLayer } from '../layers/moe.ts'
import { RmsNorm } from '../layers/norm.ts'
import type { CacheSpecs, ExpertInfo, Layer, LayerCache, Step } from '../layers/step.ts'
import { causal, resetAfter } from '../layers/visibility.ts'
import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { AttentionRouter } from '../routers/attention_router.ts'
import type { Routing } from '../routers/router.ts'
import { type Rows, rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import type { YuanConfig } from './yuan_config.ts'

/**
 * Rows of the query (half 0) or key (half 1) matrix. The checkpoint's q_proj and k_proj are the two halves of
 * one matrix whose rows go head by head, query before key, so neither is what its name says.
 */
function regrouped(prefix: string, c: YuanConfig, half: 0 | 1): Rows[] {
  const { headSize: D, numHeads: N, hiddenSize: H } = c
  return Array.from({ length: N }, (_, head) => {
    const row = (2 * head + half) * D
    const [name, start] = row < N * D ? ['q_proj', row] : ['k_proj', row - N * D]
    return { name: `${prefix}.${name}.weight`, shape: [N * D, H], start: start as number, count: D }
  })
}

type Caches = 'keys' | 'values' | 'filterInput' | 'filterMiddle'

class YuanLayer implements Layer {
  readonly caches: CacheSpecs<Caches>
  readonly experts: ExpertInfo
  readonly #config: YuanConfig
  readonly #ropeTable: Tensor
  readonly #inputNorm: Tensor
  readonly #filter: LocalizedFilter
  readonly #qk: Weight
  readonly #value: Weight
  readonly #out: Weight
  readonly #postNorm: Tensor
  readonly #moe: MoeLayer

  constructor(weights: Weights, c: YuanConfig, prefix: string, ropeTable: Tensor) {
    const { hiddenSize: H, expertSize: I } = c
    const P = c.numHeads * c.headSize
    const attention = `${prefix}.self_attn`
    this.#config = c
    this.#ropeTable = ropeTable
    this.#inputNorm = weights.vector(`${prefix}.input_layernorm.weight`, [H])
    this.#filter = new LocalizedFilter(weights, `${attention}.lf_gate`, H)
    this.caches = {
      ...attentionCaches({ keyValueHeads: c.numKeyValueHeads, headSize: c.headSize }),
      ...this.#filter.caches,
    }
    this.#qk = weights.matrix([...regrouped(attention, c, 0), ...regrouped(attention, c, 1)], {
      part: 'attention',
    })
    this.#value = weights.matrix([rowsOf(`${attention}.v_proj.weight`, [P, H])], {
      part: 'attention',
    })
    this.#out = weights.matrix([rowsOf(`${attention}.o_proj.weight`, [H, P])], {
      part: 'attention',
    })
    this.#postNorm = weights.vector(`${prefix}.post_attention_layernorm.weight`, [H])
    const shape = {
      kinds: c.experts,
      hidden: H,
      topK: c.topK,
      renormalize: c.normTopkProb,
    }
    const up = [c.gatedExperts ? 2 * I : I, H]
    this.#moe = new MoeLayer(new AttentionRouter(weights, `${prefix}.mlp.gate`, shape), {
      kinds: c.experts,
      topK: c.topK,
      gateUp: c.experts.map((_, e) =>
        weights.matrix([rowsOf(`${prefix}.mlp.experts.${e}.w1.weight`, up)], {
          gateUp: c.gatedExperts,
          share: 'expert',
        }),
      ),
      down: c.experts.map((_, e) =>
        weights.matrix([rowsOf(`${prefix}.mlp.experts.${e}.w2.weight`, [H, I])], {
          share: 'expert',
        }),
      ),
      activation: c.gatedExperts ? 'swiglu' : 'silu',
    })
    this.experts = this.#moe.info
  }

  forward(step: Step, x: Tensor, cache: LayerCache<Caches>): { out: Tensor; routing: Routing } {
    const { rmsNormEps: eps, headSize } = this.#config
    const P = this.#config.numHeads * headSize
    const { plan, dtype } = step
    // Values are of the unfiltered input. The filter adds that back in f32, so it wants both precisions.
    const norm = { x, weight: this.#inputNorm, eps, dtype, keepF32: true }
    const { out: n, exact = n } = ops.rmsNorm(plan, norm)
    const v = ops.linear(plan, { x: n, weight: this.#value, dtype }).out //              [T, P]
    const f = this.#filter.forward(step, n, exact, cache) //                             [T, H]
    const qk = ops.linear(plan, { x: f, weight: this.#qk, dtype }).out //                [T, 2P]
    const qkv = { q: qk.columns(0, P), k: qk.columns(P, P), v }
    const mixed = attend(step, cache, 'self', qkv, this.#ropeTable, 1 / Math.sqrt(headSize)) //         [T, P]
    const h = ops.linear(plan, { x: mixed, weight: this.#out, residual: x }).out //      [T, H]
    const m = ops.rmsNorm(plan, { x: h, weight: this.#postNorm, eps, dtype }).out
    return this.#moe.forward(step, m, h)
  }
}

export function yuan(c: YuanConfig, weights: Weights, options: GraphOptions): Architecture {
  const norm = new RmsNorm(weights, 'model.norm', c.hiddenSize, c.rmsNormEps)
  const vocabulary = new Vocabulary(weights, c, norm)
  // The published table rounds everything to bf16 and loses positions past 256; that is what the model runs with.
  const rounding = options.ropeTable ?? 'published'
  const { rotaryDim, rope } = c
  const ropeTable = weights.ropeTable(rotaryDim, rope, { rounding })
  const layers = Array.from(
    { length: c.numLayers },
    (_, l) => new YuanLayer(weights, c, `model.layers.${l}`, ropeTable),
  )
  const { resetAfterId: id } = c
  const visibility = { self: id === undefined ? causal : resetAfter(id) }
  return new Decoder(c, { vocabulary, visibility, layers })
}
