import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import {
  type BalancedRouter,
  balancedChoice,
  balancedKeys,
  balancedOnly,
  readBalancedRouter,
} from './balanced_router.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import {
  type DecoderConfig,
  decoderKeys,
  readAnyHeadSize,
  readDecoder,
  readTopK,
} from './decoder_config.ts'
import {
  type DeepseekLayers,
  deepseekFeedForward,
  deepseekLayerKeys,
  ignorePredictions,
  type PredictionLayers,
  readPredictions,
  readSharedSize,
} from './deepseek_layers.ts'
import { partialKey, readRotaryDim } from './partial_rotary.ts'

/** GLM-4.5 (arXiv:2508.06471): a part of each head is rotated, DeepSeek-V3's router, the first layers are dense. */
export interface Glm4MoeConfig
  extends DecoderConfig,
    DeepseekLayers,
    BalancedRouter,
    PredictionLayers {
  architecture: 'glm4_moe'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** Projections to q, k and v have biases; the one back never has. */
  attentionBias: boolean
  /** q and k are normed head by head. */
  qkNorm: boolean
  /** How many layers at the bottom are dense. */
  denseLayers: number
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
  const expertSize = c.int('moe_intermediate_size', 1408)
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('n_routed_experts', 128), 8)
  return {
    architecture: 'glm4_moe',
    ...readDecoder(c, {
      ...{ eps: 1e-5, theta: 10000, maxPositions: 131072, keyValueHeads: 8 },
      ...{ headSize, rotaryDim: readRotaryDim(c, headSize, headSize / 2) },
      ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    }),
    expertSize,
    ...chosen,
    ...readBalancedRouter(c, { ...chosen, groups: { count: 1, kept: 1 }, factor: 1 }),
    attentionBias: c.flag('attention_bias', false),
    qkNorm: c.flag('use_qk_norm', false),
    sharedExpertSize: readSharedSize(c, expertSize, 1),
    denseSize: c.int('intermediate_size', 10944),
    denseLayers: c.int('first_k_dense_replace', 1, { min: 0, max: limits.count }),
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
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => l < c.denseLayers,
      (mlp) => balancedChoice(c, `${mlp}.gate.e_score_correction_bias`),
    ),
  })
}
