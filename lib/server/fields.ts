import { type Json, utf8 } from '../weights/json.ts'
import { badParam, Failure } from './failure.ts'

/** Reads a request's fields; null is absent, as clients write it. */
export class Fields {
  readonly #json: Json
  readonly #prefix: string

  constructor(json: Json, prefix = '') {
    this.#json = json
    this.#prefix = prefix
  }

  value(name: string): unknown {
    return this.#json[name] ?? undefined
  }

  /** A field's name as an error says it. */
  path(name: string): string {
    return this.#prefix + name
  }

  get names(): string[] {
    return Object.keys(this.#json)
  }

  has(name: string): boolean {
    return this.value(name) !== undefined
  }

  number(name: string, whole = false): number | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    const ok = whole ? Number.isSafeInteger(value) : Number.isFinite(value)
    if (ok) return value as number
    return badParam(this.#prefix + name, whole ? 'a whole number' : 'a number', value)
  }

  flag(name: string): boolean | undefined {
    return this.#typed(name, 'boolean', 'true or false')
  }

  text(name: string): string | undefined {
    return this.#typed(name, 'string', 'a string')
  }

  list(name: string): unknown[] | undefined {
    const value = this.value(name)
    if (value === undefined || Array.isArray(value)) return value
    return badParam(this.#prefix + name, 'a list', value)
  }

  object(name: string): Fields | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    if (isObject(value)) return new Fields(value, `${this.#prefix}${name}.`)
    return badParam(this.#prefix + name, 'an object', value)
  }

  /** A number within bounds. */
  within(name: string, min: number, max: number): number | undefined {
    const value = this.number(name, true)
    if (value === undefined || (value >= min && value <= max)) return value
    return badParam(this.#prefix + name, `from ${min} to ${max}`, value)
  }

  #typed<T>(name: string, type: string, expected: string): T | undefined {
    const value = this.value(name)
    if (value === undefined || typeof value === type) return value as T | undefined
    return badParam(this.#prefix + name, expected, value)
  }
}

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Deeper values are no requests, and take seconds to read. */
const maxDepth = 256

/**
 * A body as text, once it is no deeper than a request may be.
 *
 * @throws {Failure} 400
 */
export function decodeBody(body: Buffer): string {
  const bad = (what: string) => new Failure(400, what, { code: 'invalid_json' })
  let depth = 0
  let inText = false
  for (let i = 0; i < body.length; i++) {
    const c = body[i]
    if (inText) {
      if (c === 0x5c) i++
      else if (c === 0x22) inText = false
    } else if (c === 0x22) inText = true
    else if (c === 0x5b || c === 0x7b) {
      if (++depth > maxDepth) throw bad(`the body must be at most ${maxDepth} levels deep`)
    } else if (c === 0x5d || c === 0x7d) depth--
  }
  try {
    return utf8.decode(body)
  } catch {
    throw bad('the body must be UTF-8, got other bytes')
  }
}

/** A request's body as an object. */
export function parseBody(text: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Failure(400, `the body must be JSON, got ${(error as Error).message}`, {
      code: 'invalid_json',
    })
  }
  if (isObject(value)) return value
  throw new Failure(400, 'the body must be a JSON object, got another value', {
    code: 'invalid_json',
  })
}
