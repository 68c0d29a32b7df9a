import type { TopKRouterOptions } from '../routers/top_k_router.ts'
import type { Weights } from '../weights/weights.ts'
import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { readTopK } from './decoder_config.ts'
import {
  type DeepseekLayers,
  deepseekFeedForward,
  type deepseekLayerKeys,
  readSharedSize,
} from './deepseek_layers.ts'
import { type ExpertGroups, groupKeys, readGroups } from './groups.ts'

/** DeepSeek-V3's router: sigmoid scores, a bias that moves the choice alone (arXiv:2412.19437, equations 12 to 16). */
export interface BalancedRouter {
  /** Undefined: a token chooses from all experts. */
  groups: ExpertGroups | undefined
  /** The chosen scores are renormalised. */
  normTopkProb: boolean
  /** Factor of the chosen experts' weights. */
  routedScale: number
}

export const balancedKeys = [...groupKeys, 'norm_topk_prob', 'routed_scaling_factor'] as const

/** What else published files say of it. */
export const balancedOnly = { scoring_func: ['sigmoid'], topk_method: ['noaux_tc'] }

/** @param of the experts, and what the class has where the file says nothing */
export function readBalancedRouter(
  c: ConfigReader<(typeof balancedKeys)[number]>,
  of: { experts: unknown[]; topK: number; groups: ExpertGroups; factor: number; norm?: boolean },
): BalancedRouter {
  const experts = of.experts.length
  const groups = readGroups(c, [experts, of.topK], of.groups)
  if (groups && groups.count === experts)
    c.invalid('n_group', 'of groups with more than one expert, since two make a score')
  return {
    groups,
    normTopkProb: c.flag('norm_topk_prob', of.norm ?? true),
    routedScale: c.number('routed_scaling_factor', of.factor, 0, limits.factor),
  }
}

/** DeepSeek-V3's layers: dense ones at the bottom, then experts that this router chooses. */
export interface BalancedLayers extends DeepseekLayers, BalancedRouter {
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** How many layers at the bottom are dense. */
  denseLayers: number
}

/** What the class has where the file says nothing; undefined: the file has to say it. */
interface LayerDefaults {
  expertSize: number
  experts?: number
  topK?: number
  groups: ExpertGroups
  factor: number
  norm?: boolean
  sharedExperts: number
  denseSize: number
  denseLayers: number
}

export function readBalancedLayers(
  c: ConfigReader<(typeof balancedKeys)[number] | (typeof deepseekLayerKeys)[number]>,
  of: LayerDefaults,
): BalancedLayers {
  const expertSize = c.int('moe_intermediate_size', of.expertSize)
  const chosen = readTopK(
    c,
    'num_experts_per_tok',
    c.count('n_routed_experts', of.experts),
    of.topK,
  )
  return {
    expertSize,
    ...chosen,
    ...readBalancedRouter(c, { ...of, ...chosen }),
    sharedExpertSize: readSharedSize(c, expertSize, of.sharedExperts),
    denseSize: c.int('intermediate_size', of.denseSize),
    denseLayers: c.int('first_k_dense_replace', of.denseLayers, { min: 0, max: limits.count }),
  }
}

/** @param bias name of what moves the choice, beside the router's weight */
export const balancedFeedForward = (
  weights: Weights,
  c: ModelConfig & BalancedLayers,
  bias = 'e_score_correction_bias',
) =>
  deepseekFeedForward(
    weights,
    c,
    (l) => l < c.denseLayers,
    (mlp) => balancedChoice(c, `${mlp}.gate.${bias}`),
  )

/** @param choiceBias name of the bias */
const balancedChoice = (
  { groups, normTopkProb, routedScale: factor }: BalancedRouter,
  choiceBias: string,
): Omit<TopKRouterOptions, 'kinds' | 'hidden' | 'topK'> => ({
  ...{ score: 'sigmoid', factor, choiceBias },
  weights: normTopkProb ? 'renormalized' : 'scores',
  groups: groups && { ...groups, score: 'top2' },
})
