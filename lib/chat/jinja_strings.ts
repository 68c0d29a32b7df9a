import {
  characters,
  contains,
  fail,
  float,
  isInteger,
  itemsOf,
  numberOf,
  repeat,
  repr,
  text,
  truth,
  typeName,
  type Value,
} from './jinja_values.ts'

/** Python's white space, which is not JavaScript's. */
const spaces =
  '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000'
const spaceRuns = new RegExp(`[${spaces}]+`)
const onlySpaces = new RegExp(`^[${spaces}]+$`)
const breaks = '\\n\\r\\v\\f\\x1c-\\x1e\\x85\\u2028\\u2029'
const lineEnds = new RegExp(`\\r\\n|[${breaks}]`, 'g')

export const isText = (value: Value, what: string): string =>
  typeof value === 'string' ? value : fail(`${what} must be a string, got ${typeName(value)}`)
const count = (value: Value, what: string): number =>
  isInteger(value) ? value : fail(`${what} must be an int, got ${typeName(value)}`)

/** @param side which end, or both */
export function strip(value: string, chars: Value = null, side: 'l' | 'r' | '' = ''): string {
  const among = chars === null ? undefined : new Set(characters(isText(chars, 'what is stripped')))
  const goes = (one: string) => (among ? among.has(one) : onlySpaces.test(one))
  const all = characters(value)
  let [start, end] = [0, all.length]
  if (side !== 'r') while (start < end && goes(all[start]!)) start++
  if (side !== 'l') while (end > start && goes(all[end - 1]!)) end--
  return all.slice(start, end).join('')
}

export function splitLines(value: string): string[] {
  const lines = value.split(lineEnds)
  return lines.at(-1) === '' ? lines.slice(0, -1) : lines
}

/** @param most how many cuts; below 0: all */
function split(value: string, by: Value, most: number, fromEnd: boolean): string[] {
  if (most < 0) most = Number.POSITIVE_INFINITY
  if (by === null) {
    const parts: string[] = []
    let rest = strip(value)
    while (rest !== '' && parts.length < most) {
      const found = fromEnd
        ? new RegExp(`[${spaces}]+(?=[^${spaces}]*$)`).exec(rest)
        : spaceRuns.exec(rest)
      if (!found) break
      const [before, behind] = [
        rest.slice(0, found.index),
        rest.slice(found.index + found[0].length),
      ]
      parts.push(fromEnd ? behind : before)
      rest = fromEnd ? before : behind
    }
    if (rest !== '') parts.push(rest)
    return fromEnd ? parts.reverse() : parts
  }
  const cut = isText(by, 'a separator')
  if (cut === '') fail('a separator must not be empty')
  const parts = value.split(cut)
  if (parts.length - 1 <= most) return parts
  const whole = fromEnd
    ? [parts.slice(0, parts.length - most).join(cut), ...parts.slice(parts.length - most)]
    : [...parts.slice(0, most), parts.slice(most).join(cut)]
  return whole
}

export function replace(value: string, from: string, to: string, most: number): string {
  if (most < 0) return value.replaceAll(from, () => to)
  const parts = from === '' ? ['', ...characters(value), ''] : value.split(from)
  const cuts = Math.min(most, parts.length - 1)
  const done = parts.slice(0, cuts + 1).join(to)
  return [done, ...parts.slice(cuts + 1)].join(from)
}

export const capitalize = (value: string): string => {
  const [first = '', ...rest] = characters(value)
  return first.toUpperCase() + rest.join('').toLowerCase()
}

/** str.title: a letter behind none begins a word. */
const title = (value: string): string => value.replace(/\p{L}+/gu, (word) => capitalize(word))

/** `%` of a string, with the conversions s, r, d and f. */
export function percent(form: string, given: Value): string {
  const values = Array.isArray(given) && 'at' in given ? [...given] : [given]
  let next = 0
  const done = form.replace(
    /%(-?)(0?)(\d*)(?:\.(\d+))?(.)/gs,
    (_, left, zero, width, places, kind) => {
      if (kind === '%') return '%'
      if (next >= values.length) return fail('a format has more places than values')
      const value = values[next++]
      const number = numberOf(value)
      let out: string
      if (kind === 's' || kind === 'r') out = kind === 's' ? text(value) : repr(value)
      else if (number === undefined || !(kind === 'd' || kind === 'f'))
        return fail(`%${kind} of ${typeName(value)} is not known`)
      else out = kind === 'd' ? `${Math.trunc(number)}` : number.toFixed(Number(places ?? 6))
      if (left) return out.padEnd(Number(width))
      const sign = zero && out.startsWith('-') ? '-' : ''
      return sign + out.slice(sign.length).padStart(Number(width) - sign.length, zero ? '0' : ' ')
    },
  )
  return next === values.length ? done : fail('a format has fewer places than values')
}

const test = (of: (value: string) => boolean) => (value: string) => value !== '' && of(value)
/** Whether it has letters, and all are as `change` makes them. */
export const cased = (value: string, change: (text: string) => string): boolean =>
  change(value) === value && value.toLowerCase() !== value.toUpperCase()
const ends = (value: string, end: Value, has: 'startsWith' | 'endsWith'): boolean =>
  (Array.isArray(end) ? end : [end]).some((one) => value[has](isText(one, 'an end')))

/** How many code points stand before `of` in `value`; -1 where it is not there. */
const position = (value: string, of: Value, last: boolean): number => {
  const at = value[last ? 'lastIndexOf' : 'indexOf'](isText(of, 'what is sought'))
  return at < 0 ? at : characters(value.slice(0, at)).length
}

const padded = (value: string, width: Value, fill: Value, before: boolean): string => {
  const missing = Math.max(0, count(width, 'a width') - characters(value).length)
  const space = repeat(isText(fill ?? ' ', 'a fill'), missing)
  return before ? space + value : value + space
}

type Method = (value: string, ...args: Value[]) => Value

/** The methods of str that templates have. */
export const stringMethods: Readonly<Record<string, Method>> = {
  upper: (value) => value.toUpperCase(),
  lower: (value) => value.toLowerCase(),
  casefold: (value) => value.toLowerCase(),
  title,
  capitalize,
  strip: (value, chars) => strip(value, chars),
  lstrip: (value, chars) => strip(value, chars, 'l'),
  rstrip: (value, chars) => strip(value, chars, 'r'),
  split: (value, by = null, most = -1) => split(value, by, count(most, 'maxsplit'), false),
  rsplit: (value, by = null, most = -1) => split(value, by, count(most, 'maxsplit'), true),
  splitlines: splitLines,
  replace: (value, from, to, most = -1) =>
    replace(value, isText(from, 'old'), isText(to, 'new'), count(most, 'count')),
  join: (value, parts) =>
    itemsOf(parts)
      .map((one) => isText(one, 'what is joined'))
      .join(value),
  startswith: (value, end) => ends(value, end, 'startsWith'),
  endswith: (value, end) => ends(value, end, 'endsWith'),
  removeprefix: (value, end) =>
    ends(value, end, 'startsWith') ? value.slice(String(end).length) : value,
  removesuffix: (value, end) =>
    ends(value, end, 'endsWith') ? value.slice(0, value.length - String(end).length) : value,
  find: (value, of) => position(value, of, false),
  rfind: (value, of) => position(value, of, true),
  index: (value, of) =>
    contains(value, of) ? position(value, of, false) : fail('what is sought is not there'),
  count: (value, of) =>
    of === ''
      ? characters(value).length + 1
      : value.split(isText(of, 'what is counted')).length - 1,
  isdigit: test((value) => /^\p{Nd}+$/u.test(value)),
  isnumeric: test((value) => /^\p{N}+$/u.test(value)),
  isalpha: test((value) => /^\p{L}+$/u.test(value)),
  isalnum: test((value) => /^[\p{L}\p{N}]+$/u.test(value)),
  isspace: test((value) => onlySpaces.test(value)),
  isupper: (value) => cased(value, (all) => all.toUpperCase()),
  islower: (value) => cased(value, (all) => all.toLowerCase()),
  zfill: (value, width) => padded(value, width, '0', true),
  ljust: (value, width, fill) => padded(value, width, fill, false),
  rjust: (value, width, fill) => padded(value, width, fill, true),
}

/** The `int` filter: 0, or what stands for it, where there is no number. */
export function toInteger(value: Value, otherwise: Value): Value {
  const number = typeof value === 'string' ? parsed(value) : numberOf(value)
  return number === undefined || !Number.isFinite(number) ? otherwise : Math.trunc(number)
}

export function toFloat(value: Value, otherwise: Value): Value {
  const number = typeof value === 'string' ? parsed(value) : numberOf(value)
  return number === undefined ? otherwise : float(number)
}

function parsed(value: string): number | undefined {
  const plain = strip(value).replace(/(?<=\d)_(?=\d)/g, '')
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : undefined
}

/** The `indent` filter. */
export function indent(value: string, width: Value, first: Value, blank: Value): string {
  const space = typeof width === 'string' ? width : repeat(' ', count(width, 'a width'))
  const [start = '', ...lines] = splitLines(`${value}\n`)
  const all = lines.map((line) => (line !== '' || truth(blank) ? space + line : line))
  return (truth(first) ? space : '') + [start, ...all].join('\n')
}
