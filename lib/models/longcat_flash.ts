import { Decoder } from '../layers/decoder.ts'
import type { Attention, FeedForward } from '../layers/decoder_layer.ts'
import { DenseLayer } from '../layers/dense.ts'
import { Vocabulary } from '../layers/head.ts'
import { MoeLayer, swigluExperts } from '../layers/moe.ts'
import { type Norm, RmsNorm } from '../layers/norm.ts'
import type {
  CacheSpecs,
  ExpertInfo,
  Layer,
  LayerCache,
  LayerOutput,
  Step,
} from '../layers/step.ts'
import { causal } from '../layers/visibility.ts'
import type { Tensor } from '../native.ts'
import type { ExpertKind } from '../ops/index.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { latentAttention } from './latent.ts'
import type { LongcatFlashConfig } from './longcat_flash_config.ts'

/** Attention and a dense block, of which a layer has two. */
interface Half {
  inputNorm: Norm
  attention: Attention
  postNorm: Norm
  dense: FeedForward
}

/**
 * LongCat-Flash's layer (arXiv:2509.01322, section 2.1): experts read what the first dense block reads and join at
 * the layer's end, so that machines can talk to each other meanwhile.
 */
class ShortcutLayer implements Layer {
  readonly caches: CacheSpecs
  readonly experts: ExpertInfo
  readonly #halves: readonly [Half, Half]
  readonly #moe: MoeLayer

  constructor(halves: readonly [Half, Half], moe: MoeLayer) {
    this.#halves = halves
    this.#moe = moe
    this.experts = moe.info
    this.caches = {
      first: halves[0].attention.caches.latent!,
      second: halves[1].attention.caches.latent!,
    }
  }

  forward(step: Step, x: Tensor, { first, second }: LayerCache): LayerOutput {
    const half = (i: 0 | 1, h: Tensor, latent: Tensor) => {
      const { inputNorm, attention, postNorm, dense } = this.#halves[i]
      const mixed = attention.forward(step, inputNorm.forward(step, h), h, { latent })
      const normed = postNorm.forward(step, mixed)
      return { normed, out: dense.forward(step, normed, mixed).out }
    }
    const lower = half(0, x, first!)
    const upper = half(1, lower.out, second!)
    return this.#moe.forward(step, lower.normed, upper.out)
  }
}

function experts(c: LongcatFlashConfig, weights: Weights, prefix: string): MoeLayer {
  const { hiddenSize: hidden, experts: kinds, topK, expertSize: size, routedScale: factor } = c
  const count = kinds.filter((kind: ExpertKind) => kind === 'ffn').length
  const router = new TopKRouter(weights, `${prefix}.router.classifier.weight`, {
    ...({ kinds, topK, hidden, weights: 'scores', factor } as const),
    choiceBias: `${prefix}.router.e_score_correction_bias`,
  })
  const shape = { count, hidden, size }
  return new MoeLayer(router, {
    ...{ kinds, topK },
    ...swigluExperts(weights, `${prefix}.experts`, shape),
  })
}

export function longcatFlash(c: LongcatFlashConfig, weights: Weights): Architecture {
  const { hiddenSize: hidden, denseSize: size, queryRank, latentRank } = c
  const norm = (name: string) => new RmsNorm(weights, name, hidden, c.rmsNormEps)
  const attention = latentAttention(c, weights, {
    query: Math.sqrt(hidden / queryRank!),
    latent: Math.sqrt(hidden / latentRank),
  })
  weights.ignore(/^model\.mtp\./)
  const vocabulary = new Vocabulary(weights, c, norm('model.norm'))
  const layers = Array.from({ length: c.numLayers }, (_, l) => {
    const prefix = `model.layers.${l}`
    const half = (i: number): Half => ({
      inputNorm: norm(`${prefix}.input_layernorm.${i}`),
      attention: attention(`${prefix}.self_attn.${i}`),
      postNorm: norm(`${prefix}.post_attention_layernorm.${i}`),
      dense: new DenseLayer(weights, `${prefix}.mlps.${i}`, { hidden, size }),
    })
    return new ShortcutLayer([half(0), half(1)], experts(c, weights, `${prefix}.mlp`))
  })
  return new Decoder(c, { vocabulary, visibility: { self: causal }, layers })
}
