import {
  type Callable,
  fail,
  isInteger,
  itemsOf,
  maxList,
  Namespace,
  TemplateLimit,
  text,
  type Value,
} from './jinja_values.ts'

/** Thrown by a template's own `raise_exception`. */
export class TemplateRefusal extends Error {}

const range: Callable = (args) => {
  if (!args.every(isInteger)) fail('range must have ints')
  const [first = 0, second, step = 1] = args as number[]
  const [from, to] = second === undefined ? [0, first] : [first, second]
  if (step === 0) fail('range must have a step')
  const length = Math.max(0, Math.ceil((to - from) / step))
  if (!(length <= maxList)) throw new TemplateLimit(`a range of ${length} numbers`)
  return Array.from({ length }, (_, i) => from + i * step)
}

const dict: Callable = ([given], named) => {
  const pairs = given instanceof Map ? [...given] : itemsOf(given).map((pair) => itemsOf(pair))
  return new Map([...(pairs as [Value, Value][]), ...named])
}

const namespace: Callable = (args, named) => {
  const made = new Namespace()
  for (const [key, value] of dict(args, named) as Map<Value, Value>) made.attributes.set(key, value)
  return made
}

const english = (options: Intl.DateTimeFormatOptions, date: Date): string =>
  new Intl.DateTimeFormat('en-US', options).format(date)
const twoDigits = (n: number): string => String(n).padStart(2, '0')

const dayOfYear = (date: Date): number =>
  Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) -
      Date.UTC(date.getFullYear(), 0, 0)) /
      86_400_000,
  )

/** Python's strftime in the C locale, as the published templates were tried; the library's follows the system's. */
export function strftime(format: string, date: Date): string {
  const parts: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    y: () => twoDigits(date.getFullYear() % 100),
    m: () => twoDigits(date.getMonth() + 1),
    d: () => twoDigits(date.getDate()),
    H: () => twoDigits(date.getHours()),
    M: () => twoDigits(date.getMinutes()),
    S: () => twoDigits(date.getSeconds()),
    a: () => english({ weekday: 'short' }, date),
    A: () => english({ weekday: 'long' }, date),
    b: () => english({ month: 'short' }, date),
    B: () => english({ month: 'long' }, date),
    I: () => twoDigits(date.getHours() % 12 || 12),
    p: () => (date.getHours() < 12 ? 'AM' : 'PM'),
    e: () => String(date.getDate()).padStart(2),
    j: () => String(dayOfYear(date)).padStart(3, '0'),
    '%': () => '%',
  }
  // `%-d` of the C library: without zeros in front.
  return format.replace(/%(-?)(.)/g, (whole, bare: string, letter: string) => {
    const part = parts[letter]?.()
    return part === undefined ? whole : bare ? part.replace(/^[0 ]+(?=\d)/, '') : part
  })
}

const raiseException: Callable = ([message]) => {
  throw new TemplateRefusal(text(message))
}

/** What every template sees beside its variables. */
export const globals: ReadonlyMap<string, Callable> = new Map<string, Callable>([
  ['range', range],
  ['dict', dict],
  ['namespace', namespace],
  ['raise_exception', raiseException],
  ['strftime_now', ([format]) => strftime(text(format), new Date())],
])
