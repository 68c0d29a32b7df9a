import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import {
  type BalancedLayers,
  balancedFeedForward,
  balancedKeys,
  readBalancedLayers,
} from './balanced_layers.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readDecoder, readHeadSize } from './decoder_config.ts'
import { deepseekLayerKeys } from './deepseek_layers.ts'
import { type LayerType, layerVisibility, readLayerTypes } from './layer_types.ts'

/** dots.llm1 (arXiv:2506.05767): q and k normed head by head, DeepSeek-V3's router, windows in the layers above some. */
export interface Dots1Config extends DecoderConfig, BalancedLayers {
  architecture: 'dots1'
  /** The four projections have biases. */
  attentionBias: boolean
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
    ...(['sliding_window', 'use_sliding_window', 'max_window_layers', 'layer_types'] as const),
  ],
  only: {
    // The released files have the method among the scores, which are sigmoid.
    ...{ hidden_act: ['silu'], scoring_func: ['noaux_tc', 'sigmoid'], topk_method: ['noaux_tc'] },
    ...{ moe_layer_freq: [1], partial_rotary_factor: [1] },
  },
})
type Key = (typeof dots1Keys)['used'][number]

/** Windows begin behind `max_window_layers`; null is no window. The class does not read `use_sliding_window`. */
function readWindows(c: ConfigReader<Key>, layers: number) {
  const size = c.int('sliding_window', 4096, { max: limits.positions })
  const first = c.int('max_window_layers', 62, { min: 0, max: limits.count })
  const none = c.isNull('sliding_window')
  const layerTypes = readLayerTypes(c, layers, (l) =>
    !none && l >= first ? 'sliding_attention' : 'full_attention',
  )
  const slides = layerTypes.includes('sliding_attention')
  if (slides && none) c.invalid('sliding_window', 'a size, since layers of layer_types slide')
  if (slides && !c.flag('use_sliding_window', true))
    c.unsupported('use_sliding_window', 'true or absent, since there are layers that slide')
  return { layerTypes, slidingWindow: slides ? size : undefined }
}

export function readDots1Config(c: ConfigReader<Key>): Dots1Config {
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 2048, keyValueHeads: 32 },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    headSize: readHeadSize(c),
  })
  return {
    architecture: 'dots1',
    ...shared,
    ...readBalancedLayers(c, {
      ...{ expertSize: 1408, sharedExperts: 0, groups: { count: 1, kept: 1 }, factor: 1 },
      ...{ norm: false, denseSize: 10944, denseLayers: 0 },
    }),
    attentionBias: c.flag('attention_bias', false),
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
    feedForward: balancedFeedForward(weights, c),
  })
}
