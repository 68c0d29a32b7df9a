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
import { decoder } from './decoder.ts'
import { type DecoderConfig, decoderKeys } from './decoder_config.ts'
import {
  deepseekIgnored,
  deepseekLayerKeys,
  ignorePredictions,
  type PredictionLayers,
  readPredictions,
} from './deepseek_layers.ts'
import { type LatentConfig, latentAttention, latentKeys, readLatentDecoder } from './latent.ts'

/** DeepSeek-V3 and its relatives: V2's layers, with sigmoid scores and a bias that balances the choice. */
export interface DeepseekV3Config
  extends DecoderConfig,
    LatentConfig,
    BalancedLayers,
    PredictionLayers {
  architecture: 'deepseek_v3'
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
  return {
    architecture: 'deepseek_v3',
    ...shared,
    ...readBalancedLayers(c, {
      ...{ expertSize: 2048, experts: 256, topK: 8, sharedExperts: 1 },
      ...{ groups: { count: 8, kept: 4 }, factor: 2.5, denseSize: 18432, denseLayers: 3 },
    }),
    ...readPredictions(c),
  }
}

export function deepseekV3(c: DeepseekV3Config, weights: Weights): Architecture {
  ignorePredictions(c, weights)
  return decoder(c, weights, {
    attention: latentAttention(c, weights),
    feedForward: balancedFeedForward(weights, c),
  })
}
