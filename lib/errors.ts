/** What went wrong, stable across releases. */
export type MoeErrorCode =
  | 'ERR_MOE_SHAPE'
  | 'ERR_MOE_DTYPE'
  | 'ERR_MOE_DEVICE'
  | 'ERR_MOE_OPTION'
  | 'ERR_MOE_CHECKPOINT'
  | 'ERR_MOE_HUB'
  | 'ERR_MOE_UNSUPPORTED'
  | 'ERR_MOE_CONTEXT_FULL'
  | 'ERR_MOE_BUSY'
  | 'ERR_MOE_NUMERIC'
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
  /** Stable; the message may change. */
  readonly code: MoeErrorCode

  constructor(code: MoeErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Text of a value for an error message: short, and telling strings from numbers. */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'symbol') return String(value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null) return shownObject(value)
  return Object.is(value, -0) ? '-0' : String(value)
}

/** What its text would not show, as of a Map. */
function ownClass(value: object): string | undefined {
  if (ArrayBuffer.isView(value)) return value.constructor.name
  const [, name] = /^\[object (\w+)\]$/.exec(Object.prototype.toString.call(value)) ?? []
  return name === 'Object' || name === 'Array' ? undefined : name
}

/** What an object says of itself may be anything, or throw: a cycle, a revoked proxy, its own toJSON. */
function shownObject(value: object): string {
  try {
    if (value instanceof Date || value instanceof RegExp) return String(value)
    const name = ownClass(value)
    if (name !== undefined) return `a ${name}`
    const text = JSON.stringify(value)
    return text.length > 80 ? `${text.slice(0, 80)}…` : text
  } catch {
    return 'an object'
  }
}

/** Throws ERR_MOE_OPTION `<where>: <name> must be <expected>, got <value>`. */
export function badOption(where: string, name: string, expected: string, value: unknown): never {
  throw new MoeError('ERR_MOE_OPTION', `${where}: ${name} must be ${expected}, got ${shown(value)}`)
}

/** Throws ERR_MOE_SHAPE `<where>: <name> must be [<expected>], got [<shape>]`. */
export function badShape(
  where: string,
  name: string,
  expected: readonly number[],
  shape: readonly number[],
): never {
  throw new MoeError(
    'ERR_MOE_SHAPE',
    `${where}: ${name} must be [${expected.join(', ')}], got [${shape.join(', ')}]`,
  )
}

/** Throws ERR_MOE_DISPOSED. */
export function disposed(what: string): never {
  throw new MoeError('ERR_MOE_DISPOSED', `${what}: must not be used after dispose()`)
}

/** Throws ERR_MOE_NUMERIC `<where>: <what> must be finite, got <actual>`. */
export function notFinite(where: string, what: string, actual: string): never {
  throw new MoeError(
    'ERR_MOE_NUMERIC',
    `${where}: ${what} must be finite, got ${actual}; a weight may be damaged, or activations may overflow`,
  )
}
