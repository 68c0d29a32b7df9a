import type { ConfigReader } from './config.ts'

/** Groups of neighbouring experts, of which a token chooses from the best. */
export interface ExpertGroups {
  count: number
  kept: number
}

export const groupKeys = ['n_group', 'topk_group'] as const

/** Of E experts, of which a token chooses K; undefined: all groups are kept. */
export function readGroups(
  c: ConfigReader<(typeof groupKeys)[number]>,
  [E, K]: [number, number],
  fallback: ExpertGroups,
): ExpertGroups | undefined {
  const count = c.count('n_group', fallback.count)
  const kept = c.count('topk_group', fallback.kept)
  if (E % count !== 0) c.invalid('n_group', `a divisor of the number of experts, ${E}`)
  if (kept > count) c.invalid('topk_group', `at most n_group, ${count}`)
  if (K > (kept * E) / count)
    c.invalid('topk_group', `of groups with at least as many experts as a token chooses, ${K}`)
  if (count > 32 && kept < count) c.unsupported('n_group', 'at most 32')
  return kept < count ? { count, kept } : undefined
}
