import { lstatSync, readFileSync, statSync } from 'node:fs'
import { MoeError } from '../errors.ts'

export type Json = Record<string, unknown>

/** As large as the header of a safetensors file may be; no published file comes near. */
const maxBytes = 100_000_000

/**
 * A file's bytes; undefined when there is none.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for what is no regular file, or too large, or cannot be read
 */
export function readBytes(path: string): Buffer | undefined {
  const bad = (got: string, cause?: unknown): never => {
    throw new MoeError('ERR_MOE_CHECKPOINT', `${path}: file must be readable, got ${got}`, {
      cause,
    })
  }
  try {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined
    const info = statSync(path, { throwIfNoEntry: false })
    if (!info) return bad('a link to nothing')
    if (info.isDirectory()) return bad('a folder')
    if (!info.isFile()) return bad('no regular file') // reading a pipe might never end
    if (info.size > maxBytes) return bad(`${info.size} bytes, more than ${maxBytes}`)
    if (info.size === 0) return Buffer.alloc(0) // files of /proc say so, too, and some of them have no end
    return readFileSync(path)
  } catch (error) {
    if (error instanceof MoeError) throw error
    return bad(String((error as NodeJS.ErrnoException).code), error)
  }
}

/** Takes a byte order mark away, which editors put in front, and throws for bytes that are no UTF-8. */
export const utf8 = new TextDecoder('utf-8', { fatal: true })

/** A JSON file that holds an object; undefined when there is no such file. */
export function readJson(path: string): Json | undefined {
  const bytes = readBytes(path)
  if (bytes === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch (cause) {
    throw new MoeError('ERR_MOE_CHECKPOINT', `${path}: file must be JSON, got ${cause}`, { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw new MoeError(
    'ERR_MOE_CHECKPOINT',
    `${path}: file must be a JSON object, got another JSON value`,
  )
}
