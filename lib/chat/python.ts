/** A value of a template as the library keeps it: a list's is an array of values, an object's a map. */
export interface Value {
  readonly type: string
  readonly value: unknown
}

// Published templates run in Python; what the library gives of these operations is JavaScript's.

const isNumber = ({ type }: Value): boolean =>
  type === 'IntegerValue' || type === 'FloatValue' || type === 'BooleanValue'

/** A float as Python writes it. */
function floatText(x: number): string {
  const [mantissa, exponent] = x.toExponential().split('e')
  const size = Number(exponent)
  if (x !== 0 && (size < -4 || size >= 16))
    return `${mantissa}e${size < 0 ? '-' : '+'}${String(Math.abs(size)).padStart(2, '0')}`
  return Number.isInteger(x) ? x.toFixed(1) : String(x)
}

/** JSON with its fractions as Python writes them. */
export const pythonJson = (json: string): string =>
  json.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?e-\d+|-?\d+\.\d+/g, (token) =>
    token.startsWith('"') ? token : floatText(Number(token)),
  )

const escapes: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const inner = text.replace(/[\\'"]|(?! )[\p{C}\p{Z}]/gu, (c) => {
    if (c === '\\' || c === quote) return `\\${c}`
    if (c === '"' || c === "'") return c
    const code = c.codePointAt(0)!
    const [letter, width] = code > 0xffff ? ['U', 8] : code > 0xff ? ['u', 4] : ['x', 2]
    return escapes[c] ?? `\\${letter}${code.toString(16).padStart(width as number, '0')}`
  })
  return `${quote}${inner}${quote}`
}

/** Python's `repr`. */
function shownOf({ type, value }: Value): string {
  switch (type) {
    case 'StringValue':
      return quoted(value as string)
    case 'NullValue':
      return 'None'
    case 'UndefinedValue':
      return 'Undefined'
    case 'BooleanValue':
      return value ? 'True' : 'False'
    case 'FloatValue':
      return floatText(value as number)
    case 'ArrayValue':
      return `[${(value as Value[]).map(shownOf).join(', ')}]`
    case 'TupleValue': {
      const items = (value as Value[]).map(shownOf)
      return `(${items.join(', ')}${items.length === 1 ? ',' : ''})`
    }
    case 'ObjectValue':
      return `{${[...(value as Map<string, Value>)].map(([key, item]) => `${quoted(key)}: ${shownOf(item)}`).join(', ')}}`
  }
  return String(value)
}

/** Python's `str`: what a template shows of a value. */
export function textOf(value: Value): string {
  if (value.type === 'StringValue') return value.value as string
  return value.type === 'UndefinedValue' ? '' : shownOf(value)
}

/** Python's `==`. */
export function isEqual(a: Value, b: Value): boolean {
  if (isNumber(a) && isNumber(b)) return Number(a.value) === Number(b.value)
  if (a.type !== b.type) return false
  if (Array.isArray(a.value)) {
    const others = b.value as Value[]
    return a.value.length === others.length && a.value.every((one, i) => isEqual(one, others[i]!))
  }
  if (a.type !== 'ObjectValue') return a.value === b.value
  const [map, other] = [a.value as Map<string, Value>, b.value as Map<string, Value>]
  const same = ([key, one]: [string, Value]) => other.has(key) && isEqual(one, other.get(key)!)
  return map.size === other.size && [...map].every(same)
}

/** Characters in it and 64 for each value, however often the same one is in it; counts little further than the limit. */
export function weightOf({ value }: Value, limit: number): number {
  let weight = 64
  if (typeof value === 'string') return weight + value.length
  const items = Array.isArray(value) ? value : value instanceof Map ? value.values() : []
  for (const item of items as Iterable<Value>) {
    if (weight > limit) break
    weight += weightOf(item, limit - weight)
  }
  return weight
}

// Not JavaScript's, which has U+FEFF and lacks U+001C to U+001F and U+0085.
const spaces = new Set(
  '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a' +
    '\u2028\u2029\u202f\u205f\u3000',
)

/** The methods that take characters off a text's ends: whether off the left, and off the right. */
export const stripMethods: Readonly<Record<string, readonly [boolean, boolean]>> = {
  ...{ strip: [true, true], lstrip: [true, false], rstrip: [false, true] },
}

/** @param characters what is taken off; undefined: white space */
export function strip(
  text: string,
  characters: string | undefined,
  [left, right]: readonly [boolean, boolean],
): string {
  const off = characters === undefined ? spaces : new Set(characters)
  let start = 0
  let end = text.length
  while (left && start < end) {
    const c = String.fromCodePoint(text.codePointAt(start)!)
    if (!off.has(c)) break
    start += c.length
  }
  while (right && end > start) {
    const c = [...text.slice(Math.max(start, end - 2), end)].at(-1)!
    if (!off.has(c)) break
    end -= c.length
  }
  return text.slice(start, end)
}

export const capitalize = (text: string): string => {
  const [first = ''] = text
  return first.toUpperCase() + text.slice(first.length).toLowerCase()
}

/** Jinja's filter: words begin behind white space and opening signs. */
export const title = (text: string): string => text.replace(/[^-\s({[<]+/g, capitalize)
