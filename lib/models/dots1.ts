import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import {
  type BalancedRouter,
  balancedChoice,
  balancedKeys,
  readBalancedRouter,
} from './balanced_router.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import {
  type DecoderConfig,
  decoderKeys,
  readDecoder,
  readHeadSize,
  readTopK,
} from './decoder_config.ts'
import {
  type DeepseekLayers,
  deepseekFeedForward,
  deepseekLayerKeys,
  readSharedSize,
} from './deepseek_layers.ts'
import { type LayerType, layerVisibility, readLayerTypes } from './layer_types.ts'

/** dots.llm1 (arXiv:2506.05767): q and k normed head by head, DeepSeek-V3's router, windows in the layers above some. */
export interface Dots1Config extends DecoderConfig, DeepseekLayers, BalancedRouter {
  architecture: 'dots1'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** The four projections have biases. */
  attentionBias: boolean
  /** How many layers at the bottom are dense. */
  denseLayers: number
  /** What each layer's attention sees. */
  layerTypes: LayerType[]
  /** Undefined: no layer has one. */
  slidingWindow: number | undefined
}

/** transformers' Dots1Config, and what the released files have beside it. */
export const dots1Keys = configKeys({
  used: [
    ...decoderKeys,
    ...deepseekLayerKeys,
    ...balancedKeys,
    ...(['head_dim', 'attention_bias'] as const),
    ...(['sliding_window', 'max_window_layers', 'layer_types'] as const),
  ],
  only: {
    // The released files have the method among the scores, which are sigmoid.
    ...{ hidden_act: ['silu'], scoring_func: ['noaux_tc', 'sigmoid'], topk_method: ['noaux_tc'] },
    ...{ moe_layer_freq: [1], partial_rotary_factor: [1] },
  },
})
type Key = (typeof dots1Keys)['used'][number]

/** Windows begin behind `max_window_layers`; null is no window. */
function readWindows(c: ConfigReader<Key>, layers: number) {
  const size = c.int('sliding_window', 4096, { max: limits.positions })
  const first = c.int('max_window_layers', 62, { min: 0, max: limits.count })
  const none = c.isNull('sliding_window')
  const layerTypes = readLayerTypes(c, layers, (l) =>
    !none && l >= first ? 'sliding_attention' : 'full_attention',
  )
  const slides = layerTypes.includes('sliding_attention')
  if (slides && none) c.invalid('sliding_window', 'a size, since layers of layer_types slide')
  return { layerTypes, slidingWindow: slides ? size : undefined }
}

export function readDots1Config(c: ConfigReader<Key>): Dots1Config {
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 2048, keyValueHeads: 32 },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    headSize: readHeadSize(c),
  })
  const expertSize = c.int('moe_intermediate_size', 1408)
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('n_routed_experts'))
  const groups = { count: 1, kept: 1 }
  return {
    architecture: 'dots1',
    ...shared,
    expertSize,
    ...chosen,
    ...readBalancedRouter(c, { ...chosen, groups, factor: 1, norm: false }),
    attentionBias: c.flag('attention_bias', false),
    sharedExpertSize: readSharedSize(c, expertSize, 0),
    denseSize: c.int('intermediate_size', 10944),
    denseLayers: c.int('first_k_dense_replace', 0, { min: 0, max: limits.count }),
    ...readWindows(c, shared.numLayers),
  }
}

export function dots1(c: Dots1Config, weights: Weights): Architecture {
  const { attentionBias: bias, rmsNormEps: eps } = c
  const attention: Omit<AttentionOptions, 'rule'> = {
    ...headShape(c),
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: bias, out: bias },
    qkNorm: { over: 'head', eps },
  }
  return decoder(c, weights, {
    visibility: layerVisibility(c.slidingWindow),
    attention: (prefix, l) =>
      new SelfAttention(weights, prefix, { ...attention, rule: c.layerTypes[l]! }),
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => l < c.denseLayers,
      (mlp) => balancedChoice(c, `${mlp}.gate.e_score_correction_bias`),
    ),
  })
}
