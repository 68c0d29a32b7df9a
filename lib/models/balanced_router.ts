import type { TopKRouterOptions } from '../routers/top_k_router.ts'
import { type ConfigReader, limits } from './config.ts'
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

/** @param choiceBias name of the bias */
export const balancedChoice = (
  { groups, normTopkProb, routedScale: factor }: BalancedRouter,
  choiceBias: string,
): Omit<TopKRouterOptions, 'kinds' | 'hidden' | 'topK'> => ({
  ...{ score: 'sigmoid', factor, choiceBias },
  weights: normTopkProb ? 'renormalized' : 'scores',
  groups: groups && { ...groups, score: 'top2' },
})
