import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import {
  type BalancedLayers,
  balancedFeedForward,
  balancedKeys,
  balancedOnly,
  readBalancedLayers,
} from './balanced_layers.ts'
import type { ConfigReader } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readAnyHeadSize, readDecoder } from './decoder_config.ts'
import {
  deepseekLayerKeys,
  ignorePredictions,
  type PredictionLayers,
  readPredictions,
} from './deepseek_layers.ts'
import { partialKey, readRotaryDim } from './partial_rotary.ts'

/** GLM-4.5 (arXiv:2508.06471): a part of each head is rotated, DeepSeek-V3's router, the first layers are dense. */
export interface Glm4MoeConfig extends DecoderConfig, BalancedLayers, PredictionLayers {
  architecture: 'glm4_moe'
  /** Projections to q, k and v have biases; the one back never has. */
  attentionBias: boolean
  /** q and k are normed head by head. */
  qkNorm: boolean
}

/** transformers' Glm4MoeConfig. */
export const glm4MoeKeys = configKeys({
  used: [
    ...decoderKeys,
    ...deepseekLayerKeys,
    ...balancedKeys,
    partialKey,
    'head_dim',
    'attention_bias',
    'use_qk_norm',
    'num_nextn_predict_layers',
  ],
  only: { hidden_act: ['silu'], ...balancedOnly },
})
type Key = (typeof glm4MoeKeys)['used'][number]

export function readGlm4MoeConfig(c: ConfigReader<Key>): Glm4MoeConfig {
  const headSize = readAnyHeadSize(c)
  return {
    architecture: 'glm4_moe',
    ...readDecoder(c, {
      ...{ eps: 1e-5, theta: 10000, maxPositions: 131072, keyValueHeads: 8 },
      ...{ headSize, rotaryDim: readRotaryDim(c, headSize, headSize / 2) },
      ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    }),
    ...readBalancedLayers(c, {
      ...{ expertSize: 1408, experts: 128, topK: 8, sharedExperts: 1 },
      ...{ groups: { count: 1, kept: 1 }, factor: 1, denseSize: 10944, denseLayers: 1 },
    }),
    attentionBias: c.flag('attention_bias', false),
    qkNorm: c.flag('use_qk_norm', false),
    ...readPredictions(c),
  }
}

export function glm4Moe(c: Glm4MoeConfig, weights: Weights): Architecture {
  ignorePredictions(c, weights)
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: c.attentionBias },
    qkNorm: c.qkNorm ? { over: 'head', eps: c.rmsNormEps } : undefined,
  }
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: balancedFeedForward(weights, c),
  })
}
