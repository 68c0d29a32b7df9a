import { badOption } from './errors.ts'

/** Token ids as callers may give them. */
export type TokenIds = readonly number[] | Int32Array | Uint32Array

/** Checks what every call's options share: that they are an object, and their signal. */
export function checkOptions(where: string, options: { signal?: AbortSignal | undefined }): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    badOption(where, 'options', 'an object', options)
  const { signal } = options
  if (signal !== undefined && !(signal instanceof AbortSignal))
    badOption(where, 'signal', 'an AbortSignal', signal)
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
  const range =
    max === Infinity ? (min === -Infinity ? '' : ` of at least ${min}`) : ` from ${min} to ${max}`
  return badOption(where, name, `a ${whole ? 'whole' : 'finite'} number${range}`, value)
}

/** True or false; absent is false. */
export function flagOption(where: string, name: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean')
    badOption(where, name, 'true or false', value)
  return value ?? false
}

/** Checks ids against the vocabulary. */
export function checkIds(where: string, ids: unknown, vocabSize: number): asserts ids is TokenIds {
  if (!Array.isArray(ids) && !(ids instanceof Int32Array) && !(ids instanceof Uint32Array))
    badOption(where, 'ids', 'an array of token ids', ids)
  if (ids.length === 0) badOption(where, 'ids', 'at least one token', 'none')
  for (let i = 0; i < ids.length; i++) {
    const id: unknown = ids[i]
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize)
      badOption(where, `ids[${i}]`, `a token id from 0 to ${vocabSize - 1}`, id)
  }
}
