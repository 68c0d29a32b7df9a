/** What went wrong, stable across releases. */
export type MoeErrorCode =
  | 'ERR_MOE_SHAPE'
  | 'ERR_MOE_DTYPE'
  | 'ERR_MOE_DEVICE'
  | 'ERR_MOE_OPTION'
  | 'ERR_MOE_CHECKPOINT'
  | 'ERR_MOE_UNSUPPORTED'
  | 'ERR_MOE_CONTEXT_FULL'
  | 'ERR_MOE_OUT_OF_MEMORY'
  | 'ERR_MOE_DISPOSED'
  | 'ERR_MOE_NATIVE_LOAD'
  | 'ERR_MOE_CUDA_UNAVAILABLE'

/**
 * The one error class of this library. `code` says what, `message` says where, what was expected and
 * what came: `<where>: <argument> must be <expected>, got <actual>`.
 *
 * An abort is not a MoeError: calls reject with the signal's own reason.
 */
export class MoeError extends Error {
  override readonly name = 'MoeError'
  readonly code: MoeErrorCode

  constructor(code: MoeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Text of a value for an error message: short, and telling strings from numbers. Never throws. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(short(value))
  if (typeof value === 'function') return 'a function'
  if (Object.is(value, -0)) return '-0'
  if (typeof value !== 'object' || value === null) return String(value)
  if (ArrayBuffer.isView(value)) return `${kindOf(value)} of ${value.byteLength} bytes`
  try {
    if (value instanceof Date || value instanceof RegExp) return String(value)
    return short(JSON.stringify(value))
  } catch {
    return kindOf(value) // circular, a bigint inside, a getter that throws
  }
}

const short = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text)

/** The name that a class gives its objects, such as `Map`. */
const kindOf = (value: object): string => Object.prototype.toString.call(value).slice(8, -1)

/** Throws ERR_MOE_OPTION `<where>: <name> must be <expected>, got <value>`. */
export function badOption(where: string, name: string, expected: string, value: unknown): never {
  throw new MoeError('ERR_MOE_OPTION', `${where}: ${name} must be ${expected}, got ${shown(value)}`)
}

/** Throws ERR_MOE_DISPOSED. */
export function disposed(what: string): never {
  throw new MoeError('ERR_MOE_DISPOSED', `${what}: must not be used after dispose()`)
}
