import crypto from 'node:crypto'
import type { ExpertAdjust } from './experts.ts'

const { hash } = crypto // an import of what an old Node lacks would fail before checkNode says so

const names = new WeakMap<object, string>()

/** Equal for equal changes of the routing; a text's blocks share one, so it is made once. */
function nameOf(adjust: ExpertAdjust): string {
  if (!adjust) return 'none'
  const bytes = new Uint8Array(adjust.buffer, adjust.byteOffset, adjust.byteLength)
  const name = names.get(adjust) ?? hash('sha256', bytes, 'base64')
  names.set(adjust, name)
  return name
}

/**
 * Names a block by its tokens and all before them: equal names mean equal keys, values and states. Collisions would
 * answer with somebody else's text, so no weaker hash will do.
 *
 * @param parent  the block before, or for the first block what sets its texts apart from others
 * @param experts how the routing of each token was changed
 */
export function blockHash(
  parent: string,
  ids: readonly number[],
  experts: readonly ExpertAdjust[] = [],
): string {
  const changes = experts.map((adjust, i) => (adjust === experts[i - 1] ? '' : nameOf(adjust)))
  if (changes.some((change) => change !== ''))
    return blockHash(hash('sha256', parent + changes.join(';'), 'binary'), ids)
  const head = Buffer.from(parent, 'binary')
  const bytes = Buffer.alloc(head.length + 4 * ids.length)
  head.copy(bytes)
  for (const [i, id] of ids.entries()) bytes.writeInt32LE(id, head.length + 4 * i)
  return hash('sha256', bytes, 'binary')
}

/** The parent of a first block. */
export function firstParent(salt: string, adapter?: { id: number }): string {
  const parent = hash('sha256', salt, 'binary')
  return adapter ? hash('sha256', `${parent} adapter ${adapter.id}`, 'binary') : parent
}
