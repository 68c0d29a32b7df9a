import { readFileSync } from 'node:fs'
import { MoeError } from '../errors.ts'

export type Json = Record<string, unknown>

/** A JSON file that holds an object; undefined when there is no such file. */
export function readJson(path: string): Json | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new MoeError('ERR_MOE_CHECKPOINT', `${path}: file must be readable, got ${error}`, {
      cause: error,
    })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new MoeError('ERR_MOE_CHECKPOINT', `${path}: file must be JSON, got ${cause}`, { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw new MoeError(
    'ERR_MOE_CHECKPOINT',
    `${path}: file must be a JSON object, got another JSON value`,
  )
}
