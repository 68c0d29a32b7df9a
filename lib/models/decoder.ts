import { Decoder } from '../layers/decoder.ts'
import { type Attention, DecoderLayer, type FeedForward } from '../layers/decoder_layer.ts'
import { Vocabulary, type VocabularyOptions } from '../layers/head.ts'
import { MoeLayer, swigluExperts } from '../layers/moe.ts'
import { type Norm, RmsNorm } from '../layers/norm.ts'
import { causal, slidingWindow, type VisibilityRules } from '../layers/visibility.ts'
import { TopKRouter, type TopKRouterOptions } from '../routers/top_k_router.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import type { ModelConfig } from './config.ts'

export interface DecoderBlocks {
  /** @param prefix of its tensors: `model.layers.3.self_attn`, or by another name */
  attention(prefix: string, layer: number): Attention
  /** @param prefix of the layer's tensors: `model.layers.3` */
  feedForward(prefix: string, layer: number): FeedForward
  /** Default: RMS norms. */
  norm?(name: string): Norm
  vocabulary?: VocabularyOptions
  /** Default: `self_attn`. */
  attentionName?: string
  /** Default: one causal rule, `self`. */
  visibility?: VisibilityRules
}

/** The skeleton that Llama's tensor names stand for, with an architecture's own blocks in it. */
export function decoder(c: ModelConfig, weights: Weights, blocks: DecoderBlocks): Architecture {
  const rmsNorm = (name: string) => new RmsNorm(weights, name, c.hiddenSize, c.rmsNormEps)
  const { norm = rmsNorm, visibility = { self: causal }, attentionName = 'self_attn' } = blocks
  const vocabulary = new Vocabulary(weights, c, norm('model.norm'), blocks.vocabulary)
  const layers = Array.from({ length: c.numLayers }, (_, l) => {
    const prefix = `model.layers.${l}`
    return new DecoderLayer({
      inputNorm: norm(`${prefix}.input_layernorm`),
      attention: blocks.attention(`${prefix}.${attentionName}`, l),
      postNorm: norm(`${prefix}.post_attention_layernorm`),
      feedForward: blocks.feedForward(prefix, l),
    })
  })
  return new Decoder(c, { vocabulary, visibility, layers })
}

/**
 * Where files keep a router as `gate` beside `experts`: a projection and its choice, and shared experts if there are any.
 *
 * @param gate the name of the projection
 */
export function routedLayer(
  weights: Weights,
  prefix: string,
  { experts: kinds, topK, hiddenSize: hidden, expertSize: size }: ModelConfig,
  choice: Omit<TopKRouterOptions, 'kinds' | 'hidden' | 'topK'>,
  shared?: FeedForward,
  gate = 'gate',
): MoeLayer {
  const router = { kinds, hidden, topK, ...choice }
  const shape = { count: kinds.length, hidden, size }
  const experts = swigluExperts(weights, `${prefix}.experts`, shape)
  return new MoeLayer(
    new TopKRouter(weights, `${prefix}.${gate}.weight`, router),
    { kinds, topK, ...experts },
    shared,
  )
}

/** What attention has to know of a model's shape. */
export const headShape = (c: ModelConfig) => ({
  hidden: c.hiddenSize,
  heads: c.numHeads,
  keyValueHeads: c.numKeyValueHeads,
  headSize: c.headSize,
})

/** One rule for all layers: the last `window` positions, or all. */
export const windowed = (window: number | undefined): VisibilityRules => ({
  self: window === undefined ? causal : slidingWindow(window),
})
