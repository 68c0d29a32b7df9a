import { percent, stringMethods } from './jinja_strings.ts'
import {
  type Callable,
  characters,
  compare,
  contains,
  equal,
  fail,
  float,
  isFloat,
  isInteger,
  maxList,
  Namespace,
  numberOf,
  ordered,
  pairsOf,
  repeat,
  subscript,
  Tuple,
  text,
  truth,
  typeName,
  type Value,
} from './jinja_values.ts'

const repeated = (a: Value, b: Value): Value => {
  if (typeof a === 'string' && isInteger(b)) return repeat(a, b)
  if (Array.isArray(a) && isInteger(b))
    return a.length * b > maxList
      ? fail(`a list of more than ${maxList} items`)
      : Array.from({ length: Math.max(0, b) }, () => a as Value[]).flat(1)
  return undefined
}

/** What `+ - * / // % **` give of two numbers. */
function arithmetic(operator: string, x: number, y: number, floats: boolean): Value {
  if (y === 0 && ['/', '//', '%'].includes(operator)) fail('division by zero')
  const results: Readonly<Record<string, () => number>> = {
    '+': () => x + y,
    '-': () => x - y,
    '*': () => x * y,
    '/': () => x / y,
    '//': () => Math.floor(x / y),
    // Of the divisor's sign.
    '%': () => x - y * Math.floor(x / y),
    '**': () => x ** y,
  }
  const result = results[operator]!()
  return floats || operator === '/' || (operator === '**' && y < 0) ? float(result) : result
}

/** @throws where Python would */
export function operate(operator: string, a: Value, b: Value): Value {
  if (operator === '==') return equal(a, b)
  if (operator === '!=') return !equal(a, b)
  if (operator === 'in') return contains(b, a)
  if (operator === 'not in') return !contains(b, a)
  if (operator === '~') return text(a) + text(b)
  if (operator === '<') return compare(a, b) < 0
  if (operator === '<=') return compare(a, b) <= 0
  if (operator === '>') return compare(a, b) > 0
  if (operator === '>=') return compare(a, b) >= 0
  const [x, y] = [numberOf(a), numberOf(b)]
  if (x !== undefined && y !== undefined)
    return arithmetic(operator, x, y, isFloat(a) || isFloat(b))
  if (operator === '+') {
    if (typeof a === 'string' && typeof b === 'string') return a + b
    if (a instanceof Tuple && b instanceof Tuple) return Tuple.from([...a, ...b])
    if (Array.isArray(a) && Array.isArray(b) && !(a instanceof Tuple || b instanceof Tuple))
      return [...a, ...b]
  }
  if (operator === '%' && typeof a === 'string') return percent(a, b instanceof Tuple ? b : [b])
  const product = operator === '*' ? (repeated(a, b) ?? repeated(b, a)) : undefined
  return product ?? fail(`${typeName(a)} ${operator} ${typeName(b)} is nothing`)
}

export function negate(operator: string, value: Value): Value {
  if (operator === 'not') return !truth(value)
  const number = numberOf(value) ?? fail(`${operator} of ${typeName(value)} is nothing`)
  return isFloat(value)
    ? float(operator === '-' ? -number : number)
    : operator === '-'
      ? 0 - number
      : number
}

/** `value[start:stop:step]` of Python. */
export function slice(value: Value, start: Value, stop: Value, step: Value): Value {
  const all = typeof value === 'string' ? characters(value) : value
  if (!Array.isArray(all)) return fail(`${typeName(value)} has no slices`)
  const by = step ?? 1
  for (const bound of [start, stop, by])
    if (!(bound === null || bound === undefined || isInteger(bound)))
      fail(`a slice must have ints, got ${typeName(bound)}`)
  if (by === 0) fail('a slice must have a step')
  const n = all.length
  const forward = (by as number) > 0
  const [least, most] = forward ? [0, n] : [-1, n - 1]
  const bound = (given: Value, otherwise: number): number => {
    if (given === null || given === undefined) return otherwise
    const at = given as number
    return Math.min(most, Math.max(least, at < 0 ? at + n : at))
  }
  const [from, to] = [bound(start, forward ? 0 : n - 1), bound(stop, forward ? n : -1)]
  const taken: Value[] = []
  for (let i = from; forward ? i < to : i > to; i += by as number) taken.push(all[i])
  if (typeof value === 'string') return taken.join('')
  return value instanceof Tuple ? Tuple.from(taken) : taken
}

const listMethods: Readonly<Record<string, (list: Value[], of: Value) => Value>> = {
  count: (list, of) => list.filter((one) => equal(one, of)).length,
  index: (list, of) => {
    const at = list.findIndex((one) => equal(one, of))
    return at < 0 ? fail('what is sought is not in the list') : at
  },
  copy: (list) => [...list],
}
const dictMethods: Readonly<Record<string, (dict: Map<Value, Value>, ...args: Value[]) => Value>> =
  {
    get: (dict, key, otherwise = null) => (dict.has(key) ? dict.get(key) : otherwise),
    items: (dict) => pairsOf(dict),
    keys: (dict) => [...dict.keys()],
    values: (dict) => [...dict.values()],
    copy: (dict) => new Map(dict),
  }
/** Methods that change their dict, which Jinja's sandbox has not; nor has it keys of their names. */
const forbidden = new Set(['update', 'pop', 'popitem', 'clear', 'setdefault'])
/** Methods whose arguments have names. */
const names: Readonly<Record<string, readonly string[]>> = {
  ...{ split: ['sep', 'maxsplit'], rsplit: ['sep', 'maxsplit'], replace: ['', '', 'count'] },
}

/** A method, bound. What would change a list or a dict is none, as in Jinja's sandbox. */
function method(value: Value, name: string): Callable | undefined {
  const bound = <T extends Value>(
    of: Readonly<Record<string, (value: T, ...args: Value[]) => Value>>,
  ): Callable | undefined => {
    if (!Object.hasOwn(of, name)) return undefined
    const run = of[name]!
    return (args, named) => run(value as T, ...ordered(name, names[name] ?? [], args, named))
  }
  if (typeof value === 'string') {
    if (name !== 'format') return bound<string>(stringMethods)
    return (args, named) => format(value, args, named)
  }
  if (Array.isArray(value)) return bound<Value[]>(listMethods)
  return value instanceof Map ? bound<Map<Value, Value>>(dictMethods) : undefined
}

/** `str.format` of fields without conversions. */
function format(form: string, args: Value[], named: Map<string, Value>): string {
  let next = 0
  return form.replace(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g, (whole, field: string | undefined) => {
    if (field === undefined)
      return whole.length === 2 ? whole[0]! : fail('a format must close its braces')
    if (!/^\w*$/.test(field)) return fail(`format field ${field} is not known`)
    const value =
      field === '' ? args[next++] : /^\d+$/.test(field) ? args[Number(field)] : named.get(field)
    return value === undefined ? fail(`format field ${field} must be given`) : text(value)
  })
}

/** `value.name`, or `value[key]` where `computed`: what is looked for first differs. */
export function member(value: Value, key: Value, computed: boolean): Value {
  if (value === undefined) return fail(`what has ${text(key)} must be there, got undefined`)
  if (value instanceof Namespace) return value.attributes.get(key)
  if (!computed && value instanceof Map && forbidden.has(text(key))) return undefined
  const own = typeof key === 'string' ? method(value, key) : undefined
  const inside = subscript(value, key)
  return computed ? (inside ?? own) : (own ?? inside)
}
