import { meantHubId } from '../hub_id.ts'
import { cachedSnapshot } from './cache.ts'
import type { PullOptions } from './pull.ts'

/**
 * The folder of a hub's model that `dir` names: of the cache, else downloaded. Anything else as it is, also what is
 * wrong.
 *
 * @throws {MoeError} as pullModel
 */
export async function modelFolder(dir: unknown, options: PullOptions = {}): Promise<unknown> {
  const id = typeof dir === 'string' ? meantHubId(dir) : undefined
  if (!id) return dir
  const cached = cachedSnapshot(id)
  if (cached !== undefined) return cached
  const { pullModel } = await import('./pull.ts') // most folders need none of it
  return pullModel(id, options)
}
