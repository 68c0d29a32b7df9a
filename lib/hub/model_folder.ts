import { MoeError } from '../errors.ts'
import { meantHubId } from '../hub_id.ts'
import { cachedSnapshot } from './cache.ts'
import type { PullOptions } from './pull.ts'

/**
 * The folder of a hub's model that `dir` names: of the cache, else downloaded. Anything else as it is, also what is
 * wrong.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT where the hub does not give it, since a folder may have been meant; the cause has
 *   ERR_MOE_HUB
 */
export async function modelFolder(dir: unknown, options: PullOptions = {}): Promise<unknown> {
  const id = typeof dir === 'string' ? meantHubId(dir) : undefined
  if (!id) return dir
  const cached = cachedSnapshot(id)
  if (cached !== undefined) return cached
  const { pullModel } = await import('./pull.ts') // most folders need none of it
  try {
    return await pullModel(id, options)
  } catch (cause) {
    if (!(cause instanceof MoeError && cause.code === 'ERR_MOE_HUB')) throw cause
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${dir}: folder must exist, got nothing there; as a model of the Hugging Face hub: ${cause.message}`,
      { cause },
    )
  }
}
