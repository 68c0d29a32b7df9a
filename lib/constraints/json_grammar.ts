import { automaton, oneOfTexts, textRegex, type Way } from './automaton.ts'
import { type Regex, readRegex } from './regex.ts'
import { literal, notEnforced, type Rules } from './rules.ts'

/** What can stand behind a string in JSON without spaces: tokens that go on otherwise are told apart ahead. */
const behindString = '[,}\\]:]'
const plainCharacter = '[^"\\\\\\x00-\\x1f]'
/** Short escapes alone: one for each character, and no halves of surrogate pairs. */
const escapedCharacter = '"\\\\" ["\\\\/bfnrt]'
const quote = literal('"')

const numberText = '-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?'

const day = '(0[1-9]|1\\d|2[0-8])'
const date = `\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-${day})`
const time = '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)'
const byte = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
/** As expressions: each takes a part of what the format allows. */
export const formats: Readonly<Record<string, string>> = {
  date: `^${date}$`,
  time: `^${time}$`,
  'date-time': `^${date}T${time}$`,
  uuid: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$',
  ipv4: `^${byte}\\.${byte}\\.${byte}\\.${byte}$`,
  email: '^[A-Za-z0-9]+([._+-][A-Za-z0-9]+)*@[A-Za-z0-9]+([.-][A-Za-z0-9]+)*\\.[A-Za-z]{2,8}$',
}

/** Values of JSON without spaces, as rules. */
export class JsonGrammar {
  readonly rules: Rules

  constructor(rules: Rules) {
    this.rules = rules
  }

  string(path: string, min = 0, max?: number): string {
    return this.rules.once(`string ${min} ${max}`, () => {
      const body = this.rules.repeat(path, [plainCharacter, escapedCharacter], {
        ...{ min, max },
        ...{ end: quote, follow: behindString },
      })
      return this.rules.rule(path, () => `${quote} ${body}`)
    })
  }

  /** A string with a part that matches. */
  matching(path: string, pattern: string): string {
    const regex = readRegex(path, pattern, true)
    const body = automaton(
      this.rules,
      path,
      [{ regex, spelling: 'json', tail: quote }],
      behindString,
    )
    return this.rules.rule(path, () => `${quote} ${body}`)
  }

  /** A number that every reader has room for. */
  number(path: string): string {
    return this.rules.once('number', () => this.#plain(path, readRegex(path, numberText, false)))
  }

  integer(path: string, min: number, max: number): string {
    return this.rules.once(`integer ${min} ${max}`, () => {
      const ways = [...negatives(min, max), ...nonNegatives(min, max)]
      if (ways.length === 0) notEnforced(path, 'bounds with a number in between', [min, max])
      return this.#plain(path, readRegex(path, ways.join('|'), false))
    })
  }

  /** One of these very values. */
  values(path: string, values: readonly unknown[]): string {
    return this.#plain(
      path,
      oneOfTexts(
        this.rules,
        path,
        values.map((value) => JSON.stringify(value)),
      ),
    )
  }

  #plain(path: string, regex: Regex): string {
    return automaton(this.rules, path, [{ regex, tail: '""' }])
  }

  /** Members in their order; `value` is a rule. Each is there or, unless it is needed, is not. */
  members(path: string, all: readonly { name: string; value: string; needed: boolean }[]): string {
    // The rules of what is left: behind another member, and as the first.
    const rest: { behind: string; first: string }[] = []
    rest[all.length] = { behind: '"}"', first: '"}"' }
    const named = (comma: string) => {
      const texts = all.map(({ name }) => `${comma}${JSON.stringify(name)}:`)
      return oneOfTexts(this.rules, path, texts).items
    }
    const [behindOne, atFirst] = [named(','), named('')]
    const end = textRegex('}')
    let last = all.length - 1
    for (let i = all.length - 1; i >= 0; i--) {
      if (all[i]!.needed) last = i
      const mayEnd = !all[last]!.needed
      const ways = (names: readonly Regex[]): Way[] => [
        ...all.slice(i, last + 1).map(({ value }, j) => ({
          regex: names[i + j]!,
          tail: `${value} ${rest[i + j + 1]!.behind}`,
        })),
        ...(mayEnd ? [{ regex: end, tail: '""' }] : []),
      ]
      const behind = automaton(this.rules, path, ways(behindOne))
      // Only the first can be preceded by none.
      const first = i === 0 ? automaton(this.rules, path, ways(atFirst)) : ''
      rest[i] = { behind, first }
    }
    return this.rules.rule(path, () => `"{" ${rest[0]!.first}`)
  }

  object(path: string, value: string): string {
    const members = this.rules.repeat(path, [`${this.string(path)} ":" ${value}`], {
      ...{ min: 0, max: undefined },
      ...{ between: '","', end: '"}"' },
    })
    return this.rules.rule(path, () => `"{" ${members}`)
  }

  array(path: string, item: string, min: number, max: number | undefined): string {
    const items = this.rules.repeat(path, [item], {
      ...{ min, max },
      ...{ between: '","', end: '"]"' },
    })
    return this.rules.rule(path, () => `"[" ${items}`)
  }

  any(path: string): string {
    return this.rules.once('any', () => {
      const name = this.rules.reserve(path)
      const kinds = [
        this.object(path, name),
        this.array(path, name, 0, undefined),
        ...[this.string(path), this.number(path)],
        ...['"true"', '"false"', '"null"'],
      ]
      this.rules.define(name, kinds.join(' | '))
      return name
    })
  }
}

/** Larger integers are not all told apart. */
export const largest = 999_999_999_999_999

const negatives = (min: number, max: number): string[] =>
  min >= 0 ? [] : digitsBetween(Math.max(1, -max), -min).map((ways) => `-${ways}`)
const nonNegatives = (min: number, max: number): string[] =>
  max < 0 ? [] : digitsBetween(Math.max(0, min), max)

/** Decimal numbers from `low` to `high`, both not negative: for each length, common digits and then ranges. */
function digitsBetween(low: number, high: number): string[] {
  const out: string[] = []
  for (let length = String(low).length; length <= String(high).length; length++) {
    const from = Math.max(low, length === 1 ? 0 : 10 ** (length - 1))
    const to = Math.min(high, 10 ** length - 1)
    if (from <= to) out.push(...sameLength(String(from), String(to)))
  }
  return out
}

const digit = (from: string, to: string): string => (from === to ? from : `[${from}-${to}]`)
const step = (text: string, by: number): string => String(Number(text) + by)

function sameLength(from: string, to: string): string[] {
  const [a, b, rest] = [from[0]!, to[0]!, from.length - 1]
  if (rest === 0) return [digit(a, b)]
  const all = '[0-9]'.repeat(rest)
  if (/^0*$/.test(from.slice(1)) && /^9*$/.test(to.slice(1))) return [digit(a, b) + all]
  if (a === b) return sameLength(from.slice(1), to.slice(1)).map((ways) => `${a}${ways}`)
  const first = sameLength(from.slice(1), '9'.repeat(rest)).map((ways) => `${a}${ways}`)
  const last = sameLength('0'.repeat(rest), to.slice(1)).map((ways) => `${b}${ways}`)
  const middle = Number(b) - Number(a) > 1 ? [digit(step(a, 1), step(b, -1)) + all] : []
  return [...first, ...middle, ...last]
}
