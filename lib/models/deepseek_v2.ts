import { DenseLayer } from '../layers/dense.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, routedLayer } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readDecoder, readTopK } from './decoder_config.ts'
import { type LatentConfig, latentAttention, latentKeys, readLatent } from './latent.ts'

/** Groups of neighbouring experts, of which a token chooses from the best. */
export interface ExpertGroups {
  count: number
  kept: number
}

/** DeepSeek-V2 and its relatives: latent attention, experts in groups beside shared ones, dense first layers. */
export interface DeepseekV2Config extends DecoderConfig, LatentConfig {
  architecture: 'deepseek_v2'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** Undefined: a token chooses from all experts. */
  groups: ExpertGroups | undefined
  /** Factor of the chosen experts' weights. */
  routedScale: number
  /** Inner size of the shared experts together; 0: none. */
  sharedExpertSize: number
  /** Inner size of the dense layers. */
  denseSize: number
  /** How many layers at the bottom are dense. */
  denseLayers: number
}

/** transformers' DeepseekV2Config and the publisher's. */
export const deepseekV2Keys = configKeys({
  used: [
    ...decoderKeys,
    ...latentKeys,
    'intermediate_size',
    'moe_intermediate_size',
    'n_routed_experts',
    'n_shared_experts',
    'num_experts_per_tok',
    'first_k_dense_replace',
    'topk_method',
    'n_group',
    'topk_group',
    'routed_scaling_factor',
  ],
  only: {
    hidden_act: ['silu'],
    scoring_func: ['softmax'],
    moe_layer_freq: [1],
    norm_topk_prob: [false],
    mlp_bias: [false],
  },
  ignored: { 'training only': ['aux_loss_alpha', 'seq_aux', 'ep_size'] },
})
type Key = (typeof deepseekV2Keys)['used'][number]

/** Of E experts, of which a token chooses K. */
export function readGroups(
  c: ConfigReader<'n_group' | 'topk_group'>,
  [E, K]: [number, number],
  fallback: ExpertGroups,
): ExpertGroups | undefined {
  const count = c.count('n_group', fallback.count)
  const kept = c.count('topk_group', fallback.kept)
  if (E % count !== 0) c.invalid('n_group', `a divisor of n_routed_experts, ${E}`)
  if (kept > count) c.invalid('topk_group', `at most n_group, ${count}`)
  if (K > (kept * E) / count)
    c.invalid('topk_group', `of groups with at least num_experts_per_tok, ${K}, experts`)
  if (count > 32 && kept < count) c.unsupported('n_group', 'at most 32')
  return kept < count ? { count, kept } : undefined
}

/** Group limits are of one method; the other does not read their keys. */
function readMethod(c: ConfigReader<Key>, experts: [number, number]): ExpertGroups | undefined {
  const method = c.get('topk_method')
  if (method === 'greedy') return undefined
  if (method !== 'group_limited_greedy')
    c.unsupported('topk_method', '"greedy" or "group_limited_greedy"')
  return readGroups(c, experts, { count: 1, kept: 1 })
}

export function readDeepseekV2Config(c: ConfigReader<Key>): DeepseekV2Config {
  const latent = readLatent(c)
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 2048, headSize: latent.headSize },
    ropeKinds: ['default', 'yarn'],
  })
  if (shared.numKeyValueHeads !== shared.numHeads)
    c.unsupported('num_key_value_heads', `num_attention_heads, ${shared.numHeads}`)
  const expertSize = c.int('moe_intermediate_size')
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('n_routed_experts'))
  return {
    architecture: 'deepseek_v2',
    ...shared,
    ...latent,
    expertSize,
    ...chosen,
    groups: readMethod(c, [chosen.experts.length, chosen.topK]),
    routedScale: c.number('routed_scaling_factor', 1, 0, limits.factor),
    sharedExpertSize: expertSize * c.int('n_shared_experts', 0, { min: 0, max: limits.count }),
    denseSize: c.int('intermediate_size'),
    denseLayers: c.int('first_k_dense_replace', 0, { min: 0, max: limits.count }),
  }
}

export function deepseekV2(
  c: DeepseekV2Config,
  weights: Weights,
  options: GraphOptions,
): Architecture {
  const { hiddenSize: hidden, groups, routedScale: factor } = c
  const chosen = {
    ...({ weights: 'scores', factor } as const),
    groups: groups && ({ ...groups, score: 'max' } as const),
  }
  const dense = (prefix: string, size: number) => new DenseLayer(weights, prefix, { hidden, size })
  return decoder(c, weights, {
    attention: latentAttention(c, weights, options),
    feedForward: (prefix, l) => {
      const mlp = `${prefix}.mlp`
      if (l < c.denseLayers) return dense(mlp, c.denseSize)
      const size = c.sharedExpertSize
      const shared = size > 0 ? dense(`${mlp}.shared_experts`, size) : undefined
      return routedLayer(weights, mlp, c, chosen, shared)
    },
  })
}
