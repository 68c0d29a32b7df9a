import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { isObject } from '../server/fields.ts'
import { offlineRoutes } from '../server/offline.ts'
import { type Json, utf8 } from '../weights/json.ts'
import { UsageError } from './options.ts'
import { hasBytes } from './text_file.ts'

/** One line of OpenAI's batch format. */
export interface BatchRequest {
  id: string
  url: string
  body: Json
}

/** Line `i` of `n` shards belongs to `i % n`. */
export interface Shard {
  index: number
  count: number
}

export function readShard(text: string): Shard {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text)?.map(Number) ?? []
  if (index === undefined || count === undefined || index >= count)
    throw new UsageError(`--shard must be i/n with i from 0 to n - 1, got '${text}'`)
  return { index, count }
}

function readLine(text: string, where: string): BatchRequest {
  const bad = (what: string) => new UsageError(`${where}: ${what}`)
  let line: unknown
  try {
    line = JSON.parse(text)
  } catch (error) {
    throw bad(`must be JSON, got ${(error as Error).message}`)
  }
  if (!isObject(line)) throw bad('must be a JSON object')
  const { custom_id: id, method = 'POST', url, body } = line
  if (typeof id !== 'string' || id === '') throw bad('custom_id must be a non-empty string')
  if (method !== 'POST') throw bad(`method must be POST, got ${JSON.stringify(method)}`)
  if (typeof url !== 'string' || !offlineRoutes.includes(url))
    throw bad(`url must be ${offlineRoutes.join(' or ')}, got ${JSON.stringify(url)}`)
  if (!isObject(body)) throw bad('body must be an object')
  return { id, url, body }
}

/** As long as a line may be: what is no text may have no lines. */
const maxLine = 2 ** 26

/**
 * The requests of a file that belong to a shard. Lines without text do not count.
 *
 * @throws {UsageError} naming the line
 */
export async function* readRequests(file: string, shard: Shard): AsyncGenerator<BatchRequest> {
  if (!hasBytes(file)) return
  let number = 0
  let request = 0
  for await (const line of linesOf(file)) {
    const where = `${file}:${++number}`
    const text = textOf(line, where)
    if (text.trim() === '') continue
    const read = readLine(text, where)
    if (request++ % shard.count === shard.index) yield read
  }
}

/** Lines of bytes: a text in JSON may hold what else ends a line, such as U+2028. */
async function* linesOf(file: string): AsyncGenerator<Buffer> {
  let begun: Buffer[] = []
  let length = 0
  let number = 1
  for await (const part of createReadStream(file) as AsyncIterable<Buffer>) {
    let from = 0
    for (let end = part.indexOf(10); end >= 0; end = part.indexOf(10, from)) {
      yield Buffer.concat([...begun, part.subarray(from, end)])
      begun = []
      length = 0
      number++
      from = end + 1
    }
    begun.push(part.subarray(from))
    length += part.length - from
    if (length > maxLine)
      throw new UsageError(`${file}:${number}: must be JSON, got a line of more than ${maxLine}`)
  }
  yield Buffer.concat(begun)
}

/** Without a byte order mark. */
function textOf(line: Buffer, where: string): string {
  try {
    return utf8.decode(line)
  } catch {
    throw new UsageError(`${where}: must be UTF-8, got other bytes`)
  }
}

/** What the file system says of a file, in words. */
function unreadable(file: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  return code === undefined ? error : new UsageError(`${file}: must be a file, got ${code}`)
}

/** Looks at the whole file before any of it is answered. @returns how many requests there are */
export async function checkRequests(file: string): Promise<number> {
  const seen = new Set<string>()
  try {
    for await (const { id } of readRequests(file, { index: 0, count: 1 })) {
      if (seen.has(id))
        throw new UsageError(`${file}: custom_id ${JSON.stringify(id)} is not alone`)
      seen.add(id)
    }
  } catch (error) {
    throw unreadable(file, error)
  }
  return seen.size
}

/** What an output file has: its answers, and where the last whole line ends. */
interface Answered {
  ids: Set<string>
  bytes: number
}

/** Answers that another try would not change; a line that was cut off is none. */
async function readAnswers(file: string): Promise<Answered> {
  const ids = new Set<string>()
  let bytes = 0
  let last: Buffer | undefined
  try {
    if (!hasBytes(file)) return { ids, bytes }
    for await (const line of linesOf(file)) {
      if (last) {
        const { custom_id: id, response } = JSON.parse(last.toString('utf8'))
        if (response.status_code < 429) ids.add(id)
        bytes += last.length + 1
      }
      last = line
    }
    if (last && last.length > 0 && last[0] !== 0x7b) throw new Error('no object')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { ids, bytes }
    throw new UsageError(`${file}: must be answers of an earlier run, or absent`)
  }
  return { ids, bytes }
}

/** Opens an output file behind what it has. */
export async function openAnswers(file: string) {
  const { ids, bytes } = await readAnswers(file)
  const handle = await open(file, 'a').catch((error: unknown) => {
    throw unreadable(file, error)
  })
  await handle.truncate(bytes)
  return { ids, handle }
}
