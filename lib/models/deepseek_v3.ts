import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder } from './decoder.ts'
import { decoderKeys, readTopK } from './decoder_config.ts'
import {
  deepseekFeedForward,
  deepseekIgnored,
  deepseekLayerKeys,
  readSharedSize,
} from './deepseek_layers.ts'
import { type DeepseekV2Config, readGroups } from './deepseek_v2.ts'
import { latentAttention, latentKeys, readLatentDecoder } from './latent.ts'

/** DeepSeek-V3 and its relatives: V2's layers, with sigmoid scores and a bias that balances the choice. */
export interface DeepseekV3Config extends Omit<DeepseekV2Config, 'architecture'> {
  architecture: 'deepseek_v3'
  /** The chosen scores are renormalised. */
  normTopkProb: boolean
  /** Layers behind the last that predict further tokens; they are not run. */
  predictionLayers: number
}

/** transformers' DeepseekV3Config and the publisher's. */
export const deepseekV3Keys = configKeys({
  used: [
    ...decoderKeys,
    ...latentKeys,
    ...deepseekLayerKeys,
    'n_group',
    'topk_group',
    'norm_topk_prob',
    'routed_scaling_factor',
    'num_nextn_predict_layers',
  ],
  only: {
    hidden_act: ['silu'],
    scoring_func: ['sigmoid'],
    topk_method: ['noaux_tc'],
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
  const experts = c.count('n_routed_experts', 256)
  const chosen = readTopK(c, 'num_experts_per_tok', experts, 8)
  const groups = readGroups(c, [experts, chosen.topK], { count: 8, kept: 4 })
  if (groups && groups.count === experts)
    c.invalid('n_group', 'of groups with more than one expert, since two make a score')
  return {
    architecture: 'deepseek_v3',
    ...shared,
    expertSize,
    ...chosen,
    groups,
    normTopkProb: c.flag('norm_topk_prob', true),
    routedScale: c.number('routed_scaling_factor', 2.5, 0, limits.factor),
    sharedExpertSize: readSharedSize(c, expertSize, 1),
    denseSize: c.int('intermediate_size', 18432),
    denseLayers: c.int('first_k_dense_replace', 3, { min: 0, max: limits.count }),
    predictionLayers: c.int('num_nextn_predict_layers', 1, { min: 0, max: limits.count }),
  }
}

export function deepseekV3(c: DeepseekV3Config, weights: Weights): Architecture {
  const { groups, routedScale: factor } = c
  for (let l = c.numLayers; l < c.numLayers + c.predictionLayers; l++)
    weights.ignore(new RegExp(`^model\\.layers\\.${l}\\.`))
  return decoder(c, weights, {
    attention: latentAttention(c, weights),
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => l < c.denseLayers,
      (mlp) => ({
        ...({ score: 'sigmoid', factor } as const),
        weights: c.normTopkProb ? 'renormalized' : 'scores',
        choiceBias: `${mlp}.gate.e_score_correction_bias`,
        groups: groups && ({ ...groups, score: 'top2' } as const),
      }),
    ),
  })
}
