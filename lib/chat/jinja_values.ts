/**
 * Values of templates with Python's meaning (docs.python.org/3/library/stdtypes.html), since templates are written for
 * it: None is null, what is not there undefined, an int a number without a fraction, a dict a Map.
 */
export type Value =
  | null
  | undefined
  | boolean
  | number
  | string
  | Float
  | Namespace
  | Callable
  | Value[]
  | Map<Value, Value>

/** A float without a fraction; others are plain numbers. */
export class Float {
  readonly value: number
  /** As it is written, where a number has more digits than fit. */
  readonly digits: string | undefined
  constructor(value: number, digits?: string) {
    this.value = value
    this.digits = digits
  }
}

/** `(1, 2)`: a list but for how it is written. */
export class Tuple extends Array<Value> {
  static override get [Symbol.species]() {
    return Array
  }
}

/** What `namespace()` gives: the one thing whose attributes can be set. */
export class Namespace {
  readonly attributes = new Map<Value, Value>()
}

export type Callable = (args: Value[], named: Map<string, Value>) => Value

/** What Python would raise. */
export class TemplateError extends Error {}
/** Thrown where a template goes on without end. */
export class TemplateLimit extends Error {}

export function fail(message: string): never {
  throw new TemplateError(message)
}

/** No context has a text as long. */
export const maxText = 1 << 24

export const maxList = 1 << 16

export function checkSize(value: Value): void {
  if (typeof value === 'string' && value.length > maxText)
    throw new TemplateLimit(`a text of more than ${maxText} characters`)
  if (Array.isArray(value) && value.length > maxList)
    throw new TemplateLimit(`a list of more than ${maxList} items`)
  if (weightOf(value) > maxText)
    throw new TemplateLimit(`lists of more than ${maxText} characters in all`)
}

/** Lists and dicts never change once they are made. */
const weights = new WeakMap<object, number>()

/** About as many characters as all that is in a value: lists in lists double as fast as texts do. */
function weightOf(value: Value): number {
  if (typeof value === 'string') return value.length
  if (!Array.isArray(value) && !(value instanceof Map)) return 1
  let weight = weights.get(value)
  if (weight === undefined) {
    const parts = Array.isArray(value) ? value : [...value.entries()].flat()
    weight = parts.reduce<number>((sum, part) => sum + weightOf(part), 1)
    weights.set(value, weight)
  }
  return weight
}

/** Checked before it is made. */
export const repeat = (text: string, times: number): string =>
  text.length * times > maxText
    ? fail(`a text of more than ${maxText} characters`)
    : text.repeat(Math.max(0, times))

export const float = (value: number): Value => (Number.isInteger(value) ? new Float(value) : value)

/** The number that a value is in arithmetic, where it is one. */
export function numberOf(value: Value): number | undefined {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return Number(value)
  return value instanceof Float ? value.value : undefined
}

export const isFloat = (value: Value): boolean =>
  value instanceof Float || (typeof value === 'number' && !Number.isInteger(value))
export const isInteger = (value: Value): value is number =>
  typeof value === 'number' && Number.isInteger(value)

export function typeName(value: Value): string {
  if (value === undefined) return 'undefined'
  if (value === null) return 'None'
  if (isFloat(value)) return 'a float'
  if (typeof value === 'number') return 'an int'
  if (typeof value === 'boolean') return 'a bool'
  if (typeof value === 'string') return 'a string'
  if (typeof value === 'function') return 'a function'
  if (value instanceof Tuple) return 'a tuple'
  return Array.isArray(value) ? 'a list' : value instanceof Map ? 'a dict' : 'a namespace'
}

/** From what JSON can say. */
export function fromJson(json: unknown): Value {
  if (Array.isArray(json)) return json.map(fromJson)
  if (typeof json !== 'object' || json === null || json instanceof Float) return json as Value
  const entries = Object.entries(json).filter(([, value]) => value !== undefined)
  return new Map(entries.map(([key, value]) => [key, fromJson(value)]))
}

export function truth(value: Value): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (value instanceof Map) return value.size > 0
  return value instanceof Float ? value.value !== 0 : Boolean(value)
}

/** Python's characters are code points. */
export const characters = (text: string): string[] => Array.from(text)

/** What a loop goes through. */
export function itemsOf(value: Value): Value[] {
  if (Array.isArray(value)) return value
  if (typeof value === 'string') return characters(value)
  if (value instanceof Map) return [...value.keys()]
  return value === undefined ? [] : fail(`${typeName(value)} cannot be iterated`)
}

/** The items of a dict. */
export const pairsOf = (dict: Map<Value, Value>): Value[] =>
  [...dict].map((pair) => Tuple.from(pair))

/** `value[key]`; undefined where there is none. */
export function subscript(value: Value, key: Value): Value {
  if (value instanceof Map) return value.get(key)
  if (!isInteger(key)) return undefined
  const items = typeof value === 'string' ? characters(value) : value
  return Array.isArray(items) ? items.at(key) : undefined
}

/** Arguments in the order of their names. */
export function ordered(
  what: string,
  names: readonly string[],
  args: Value[],
  named: ReadonlyMap<string, Value>,
): Value[] {
  const all = [...args]
  for (const [name, value] of named) {
    const at = names.indexOf(name)
    if (at < args.length) fail(`${what} takes no ${name}`)
    all[at] = value
  }
  return Array.from(all)
}

/** The shortest digits that give the number again, as Python writes them. */
function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf'
  const [digits, exponent] = value.toExponential().split('e') as [string, string]
  const power = Number(exponent)
  if (power < -4 || power >= 16)
    return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
  if (Object.is(value, -0)) return '-0.0'
  const plain = power < 0 ? value.toFixed(digits.replace(/\D/g, '').length - power - 1) : `${value}`
  return plain.includes('.') ? plain : `${plain}.0`
}

const escapes: Readonly<Record<string, string>> = {
  ...{ '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' },
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const inner = text.replace(/[\\\p{C}\p{Z}'"]/gu, (one) => {
    if (one === ' ' || (/['"]/.test(one) && one !== quote)) return one
    if (one === quote) return `\\${one}`
    const code = one.codePointAt(0)!
    const hex = code.toString(16)
    const [letter, width] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8]
    return escapes[one] ?? `\\${letter}${hex.padStart(width as number, '0')}`
  })
  return quote + inner + quote
}

/** `repr` of Python: what stands in a list. */
export function repr(value: Value): string {
  if (value === undefined) return 'Undefined'
  if (typeof value === 'string') return quoted(value)
  if (value instanceof Tuple)
    return `(${value.map(repr).join(', ')}${value.length === 1 ? ',' : ''})`
  if (Array.isArray(value)) return `[${value.map(repr).join(', ')}]`
  if (value instanceof Map)
    return `{${[...value].map(([key, item]) => `${repr(key)}: ${repr(item)}`).join(', ')}}`
  return text(value)
}

/** `str` of Python: what an expression writes. */
export function text(value: Value): string {
  if (typeof value === 'string') return value
  if (value === undefined) return ''
  if (value === null) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (value instanceof Float && value.digits !== undefined) return value.digits
  if (isFloat(value)) return floatText(numberOf(value)!)
  if (typeof value === 'number') return Number.isSafeInteger(value) ? `${value}` : wholeText(value)
  if (Array.isArray(value) || value instanceof Map) return repr(value)
  return fail(`${typeName(value)} cannot be written`)
}

/** All digits of a whole number. */
const wholeText = (value: number): string => BigInt(value).toString()

/** `==` of Python. */
export function equal(a: Value, b: Value): boolean {
  const [x, y] = [numberOf(a), numberOf(b)]
  if (x !== undefined || y !== undefined) return x === y
  if (Array.isArray(a) && Array.isArray(b))
    return (
      a.length === b.length &&
      a instanceof Tuple === b instanceof Tuple &&
      a.every((item, i) => equal(item, b[i]))
    )
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equal(item, b.get(key)))
  return a === b
}

/** Below 0 where `a` comes first; by code points, and lists item by item. */
export function compare(a: Value, b: Value): number {
  const [x, y] = [numberOf(a), numberOf(b)]
  if (x !== undefined && y !== undefined) return x < y ? -1 : Number(x > y)
  if (typeof a === 'string' && typeof b === 'string') {
    const [left, right] = [characters(a), characters(b)]
    const i = left.findIndex((one, at) => one !== right[at])
    if (i < 0) return left.length - right.length
    return i >= right.length ? 1 : left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!
  }
  if (Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) {
    const i = a.findIndex((one, at) => at >= b.length || !equal(one, b[at]))
    return i < 0 || i >= b.length ? a.length - b.length : compare(a[i], b[i])
  }
  return fail(`${typeName(a)} and ${typeName(b)} have no order`)
}

/** `item in container` of Python. */
export function contains(container: Value, item: Value): boolean {
  if (typeof container === 'string')
    return typeof item === 'string'
      ? container.includes(item)
      : fail(`a string contains strings only, not ${typeName(item)}`)
  return itemsOf(container).some((one) => equal(one, item))
}
