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
import { decoder } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readTopK } from './decoder_config.ts'
import {
  type DeepseekLayers,
  deepseekFeedForward,
  deepseekIgnored,
  deepseekLayerKeys,
  ignorePredictions,
  type PredictionLayers,
  readPredictions,
  readSharedSize,
} from './deepseek_layers.ts'
import { type LatentConfig, latentAttention, latentKeys, readLatentDecoder } from './latent.ts'

/** DeepSeek-V3 and its relatives: V2's layers, with sigmoid scores and a bias that balances the choice. */
export interface DeepseekV3Config
  extends DecoderConfig,
    LatentConfig,
    DeepseekLayers,
    BalancedRouter,
    PredictionLayers {
  architecture: 'deepseek_v3'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** How many layers at the bottom are dense. */
  denseLayers: number
}

/** transformers' DeepseekV3Config and the publisher's. */
export const deepseekV3Keys = configKeys({
  used: [
    ...decoderKeys,
    ...latentKeys,
    ...deepseekLayerKeys,
    ...balancedKeys,
    'num_nextn_predict_layers',
  ],
  only: {
    hidden_act: ['silu'],
    ...balancedOnly,
    moe_layer_freq: [1],
    mlp_bias: [false],
    rope_interleave: [true],
  },
  ignored: deepseekIgnored,
})
type Key = (typeof deepseekV3Keys)['used'][number]

export function readDeepseekV3Config(c: ConfigReader<Key>): DeepseekV3Config {
  const shared = readLatentDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 4096 },
    ropeKinds: ['default', 'yarn'],
  })
  const expertSize = c.int('moe_intermediate_size', 2048)
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('n_routed_experts', 256), 8)
  return {
    architecture: 'deepseek_v3',
    ...shared,
    expertSize,
    ...chosen,
    ...readBalancedRouter(c, { ...chosen, groups: { count: 8, kept: 4 }, factor: 2.5 }),
    sharedExpertSize: readSharedSize(c, expertSize, 1),
    denseSize: c.int('intermediate_size', 18432),
    denseLayers: c.int('first_k_dense_replace', 3, { min: 0, max: limits.count }),
    ...readPredictions(c),
  }
}

export function deepseekV3(c: DeepseekV3Config, weights: Weights): Architecture {
  ignorePredictions(c, weights)
  return decoder(c, weights, {
    attention: latentAttention(c, weights),
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => l < c.denseLayers,
      (mlp) => balancedChoice(c, `${mlp}.gate.e_score_correction_bias`),
    ),
  })
}
