import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readTopK } from './decoder_config.ts'
import {
  type DeepseekLayers,
  deepseekFeedForward,
  deepseekIgnored,
  deepseekLayerKeys,
  readSharedSize,
} from './deepseek_layers.ts'
import { type ExpertGroups, groupKeys, readGroups } from './groups.ts'
import { type LatentConfig, latentAttention, latentKeys, readLatentDecoder } from './latent.ts'

/** DeepSeek-V2 and its relatives: latent attention, experts in groups beside shared ones, dense first layers. */
export interface DeepseekV2Config extends DecoderConfig, LatentConfig, DeepseekLayers {
  architecture: 'deepseek_v2'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** Undefined: a token chooses from all experts. */
  groups: ExpertGroups | undefined
  /** Factor of the chosen experts' weights. */
  routedScale: number
  /** How many layers at the bottom are dense. */
  denseLayers: number
}

/** transformers' DeepseekV2Config and the publisher's. */
export const deepseekV2Keys = configKeys({
  used: [
    ...decoderKeys,
    ...latentKeys,
    ...deepseekLayerKeys,
    'topk_method',
    ...groupKeys,
    'routed_scaling_factor',
  ],
  only: {
    hidden_act: ['silu'],
    scoring_func: ['softmax'],
    moe_layer_freq: [1],
    norm_topk_prob: [false],
    mlp_bias: [false],
  },
  ignored: deepseekIgnored,
})
type Key = (typeof deepseekV2Keys)['used'][number]

/** Group limits are of one method; the other does not read their keys. */
function readMethod(c: ConfigReader<Key>, experts: [number, number]): ExpertGroups | undefined {
  const method = c.get('topk_method')
  if (method === 'greedy') return undefined
  if (method !== 'group_limited_greedy')
    c.unsupported('topk_method', '"greedy" or "group_limited_greedy"')
  return readGroups(c, experts, { count: 1, kept: 1 })
}

export function readDeepseekV2Config(c: ConfigReader<Key>): DeepseekV2Config {
  const shared = readLatentDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 2048 },
    ropeKinds: ['default', 'yarn'],
  })
  const expertSize = c.int('moe_intermediate_size')
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('n_routed_experts'))
  return {
    architecture: 'deepseek_v2',
    ...shared,
    expertSize,
    ...chosen,
    groups: readMethod(c, [chosen.experts.length, chosen.topK]),
    routedScale: c.number('routed_scaling_factor', 1, 0, limits.factor),
    sharedExpertSize: readSharedSize(c, expertSize, 0),
    denseSize: c.int('intermediate_size'),
    denseLayers: c.int('first_k_dense_replace', 0, { min: 0, max: limits.count }),
  }
}

export function deepseekV2(c: DeepseekV2Config, weights: Weights): Architecture {
  const { groups, routedScale: factor } = c
  const chosen = {
    ...({ weights: 'scores', factor } as const),
    groups: groups && ({ ...groups, score: 'max' } as const),
  }
  return decoder(c, weights, {
    attention: latentAttention(c, weights),
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => l < c.denseLayers,
      () => chosen,
    ),
  })
}
