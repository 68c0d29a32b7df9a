import { DenseLayer } from '../layers/dense.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, routedLayer } from './decoder.ts'
import { decoderKeys, readDecoder, readTopK } from './decoder_config.ts'
import { type DeepseekV2Config, readGroups } from './deepseek_v2.ts'
import { latentAttention, latentKeys, readLatent } from './latent.ts'

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
    'intermediate_size',
    'moe_intermediate_size',
    'n_routed_experts',
    'n_shared_experts',
    'num_experts_per_tok',
    'first_k_dense_replace',
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
  ignored: { 'training only': ['aux_loss_alpha', 'seq_aux', 'ep_size'] },
})
type Key = (typeof deepseekV3Keys)['used'][number]

export function readDeepseekV3Config(c: ConfigReader<Key>): DeepseekV3Config {
  const latent = readLatent(c)
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 4096, headSize: latent.headSize },
    ropeKinds: ['default', 'yarn'],
  })
  if (shared.numKeyValueHeads !== shared.numHeads)
    c.unsupported('num_key_value_heads', `num_attention_heads, ${shared.numHeads}`)
  const expertSize = c.int('moe_intermediate_size', 2048)
  const experts = c.count('n_routed_experts', 256)
  const chosen = readTopK(c, 'num_experts_per_tok', experts, 8)
  const groups = readGroups(c, [experts, chosen.topK], { count: 8, kept: 4 })
  if (groups && groups.count === experts)
    c.invalid('n_group', 'of groups with more than one expert, since two make a score')
  return {
    architecture: 'deepseek_v3',
    ...shared,
    ...latent,
    expertSize,
    ...chosen,
    groups,
    normTopkProb: c.flag('norm_topk_prob', true),
    routedScale: c.number('routed_scaling_factor', 2.5, 0, limits.factor),
    sharedExpertSize: expertSize * c.int('n_shared_experts', 1, { min: 0, max: limits.count }),
    denseSize: c.int('intermediate_size', 18432),
    denseLayers: c.int('first_k_dense_replace', 3, { min: 0, max: limits.count }),
    predictionLayers: c.int('num_nextn_predict_layers', 1, { min: 0, max: limits.count }),
  }
}

export function deepseekV3(
  c: DeepseekV3Config,
  weights: Weights,
  options: GraphOptions,
): Architecture {
  const { hiddenSize: hidden, groups, routedScale: factor } = c
  const dense = (prefix: string, size: number) => new DenseLayer(weights, prefix, { hidden, size })
  for (let l = c.numLayers; l < c.numLayers + c.predictionLayers; l++)
    weights.ignore(new RegExp(`^model\\.layers\\.${l}\\.`))
  return decoder(c, weights, {
    attention: latentAttention(c, weights, options),
    feedForward: (prefix, l) => {
      const mlp = `${prefix}.mlp`
      if (l < c.denseLayers) return dense(mlp, c.denseSize)
      const chosen = {
        ...({ score: 'sigmoid', factor } as const),
        weights: c.normTopkProb ? 'renormalized' : 'scores',
        choiceBias: `${mlp}.gate.e_score_correction_bias`,
        groups: groups && ({ ...groups, score: 'top2' } as const),
      } as const
      const size = c.sharedExpertSize
      const shared = size > 0 ? dense(`${mlp}.shared_experts`, size) : undefined
      return routedLayer(weights, mlp, c, chosen, shared)
    },
  })
}
