import { badOption } from './errors.ts'
import { checkNames, type OptionNames } from './option_names.ts'

/** Token ids as callers may give them. */
export type TokenIds = readonly number[] | Int32Array | Uint32Array

// Whoever reads a caller's object reads each property once: what was checked then is what is used.

/** Checks that options are an object, and that it has no other names than `known`. */
export function checkOptions<Options extends object>(
  where: string,
  options: Options,
  known?: OptionNames<Options>,
): void {
  if (!isPlain(options)) badOption(where, 'options', 'an object', options)
  if (known) checkNames(where, options, known)
}

/** An object that is read by its names: no list, no Map, and no proxy that answers nothing. */
export function isPlain(value: unknown): value is object {
  try {
    if (typeof value !== 'object' || value === null || Symbol.iterator in value) return false
    Object.keys(value)
    return true
  } catch {
    return false
  }
}

export function signalOption(where: string, signal: unknown): AbortSignal | undefined {
  if (signal === undefined || isSignal(signal)) return signal
  return badOption(where, 'signal', 'an AbortSignal', signal)
}

/** Not only by its prototype: the getters of a signal refuse other objects. */
function isSignal(value: unknown): value is AbortSignal {
  try {
    return value instanceof AbortSignal && typeof value.aborted === 'boolean'
  } catch {
    return false
  }
}

/** A number in [min, max]; with `whole`, an integer. */
export function numberOption(
  name: string,
  value: unknown,
  { min = -Infinity, max = Infinity, whole = false, where = 'generate' } = {},
): number {
  const ok =
    typeof value === 'number' &&
    value >= min &&
    value <= max &&
    (whole ? Number.isSafeInteger(value) : Number.isFinite(value))
  if (ok) return value
  const tooLarge = whole && Number.isInteger(value) && (value as number) >= min
  const most = tooLarge ? Math.min(max, Number.MAX_SAFE_INTEGER) : max
  const range =
    most === Infinity ? (min === -Infinity ? '' : ` of at least ${min}`) : ` from ${min} to ${most}`
  return badOption(where, name, `a ${whole ? 'whole' : 'finite'} number${range}`, value)
}

/** True or false; absent is false. */
export function flagOption(where: string, name: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean')
    badOption(where, name, 'true or false', value)
  return value ?? false
}

/** A text that may be absent. */
export function textOption(where: string, name: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  return badOption(where, name, 'a string', value)
}

/** One of some names. */
export function nameOption<T extends string>(
  where: string,
  name: string,
  value: unknown,
  names: readonly T[],
): T {
  if (names.includes(value as T)) return value as T
  const quoted = names.map((one) => `'${one}'`)
  return badOption(where, name, `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`, value)
}

/** A copy of token ids, checked against the vocabulary. */
export function readIds(where: string, ids: unknown, vocabSize: number, name = 'ids'): number[] {
  if (!Array.isArray(ids) && !(ids instanceof Int32Array) && !(ids instanceof Uint32Array))
    badOption(where, name, 'an array of token ids', ids)
  const { length } = ids
  if (!(typeof length === 'number' && length > 0))
    badOption(where, name, 'at least one token', 'none')
  const copy: number[] = []
  for (let i = 0; i < length; i++) {
    const id: unknown = ids[i]
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize)
      badOption(where, `${name}[${i}]`, `a token id from 0 to ${vocabSize - 1}`, id)
    copy.push(id as number)
  }
  return copy
}

/** A copy of a list, each item made by `read`. */
export function readList<T>(
  value: unknown,
  read: (item: unknown) => T,
  notAList: () => never,
): T[] {
  if (!Array.isArray(value)) return notAList()
  const copy: T[] = []
  for (let i = 0; i < value.length; i++) copy.push(read(value[i]))
  return copy
}
