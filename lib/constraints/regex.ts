import { badOption } from '../errors.ts'
import { Characters } from './characters.ts'
import { notEnforced } from './rules.ts'

/** A regular expression of those that are enforced. */
export type Regex =
  | { of: 'characters'; set: Characters }
  | { of: 'sequence' | 'choice'; items: Regex[] }
  | { of: 'repeat'; item: Regex; min: number; max: number | undefined }

/** Repetitions are written out. */
const maxRepeats = 1024
const maxLength = 65_536

const digits = new Characters([[48, 57]])
const word = new Characters([...digits.ranges, [65, 90], [95, 95], [97, 122]])
const space = Characters.of(' \t\n\r\v\f')
/** Beyond ASCII the negated ones and `.` take every character. */
const named: Readonly<Record<string, Characters>> = {
  ...{ d: digits, D: digits.not(), w: word, W: word.not(), s: space, S: space.not() },
  ...{ t: Characters.of('\t'), n: Characters.of('\n'), r: Characters.of('\r') },
  ...{ v: Characters.of('\v'), f: Characters.of('\f') },
}
const dot = Characters.of('\n\r').not()
export const anything: Regex = {
  of: 'repeat',
  item: { of: 'characters', set: new Characters([[0, 0x10ffff]]) },
  min: 0,
  max: undefined,
}

export const sequenceOf = (items: Regex[]): Regex => ({ of: 'sequence', items })

/** Reads ECMAScript's notation without assertions and references. */
class Reader {
  readonly #path: string
  readonly #text: string[]
  #at = 0
  #endsInDollar = false

  constructor(path: string, text: string) {
    this.#path = path
    this.#text = [...text]
  }

  /** Where an end is not anchored, anything may stand: `search`. Otherwise the whole text matches. */
  whole(search: boolean): Regex {
    const from = this.#take('^')
    const items = this.#alternatives()
    if (this.#at < this.#text.length) this.#refuse()
    const to = this.#endsInDollar
    if (!search) return items
    if ((from || to) && items.of === 'choice')
      notEnforced(
        this.#path,
        'an expression with anchors outside of its alternatives',
        this.#text.join(''),
      )
    return {
      of: 'sequence',
      items: [...(from ? [] : [anything]), items, ...(to ? [] : [anything])],
    }
  }

  #refuse(): never {
    const rest = this.#text.slice(this.#at, this.#at + 10).join('')
    return notEnforced(
      this.#path,
      'an expression of characters, classes, groups and repetitions',
      rest,
    )
  }

  #take(wanted: string): boolean {
    const found = this.#text.slice(this.#at, this.#at + wanted.length).join('') === wanted
    if (found) this.#at += wanted.length
    return found
  }

  #alternatives(): Regex {
    const items = [this.#sequence()]
    while (this.#take('|')) items.push(this.#sequence())
    return items.length === 1 ? items[0]! : { of: 'choice', items }
  }

  #sequence(): Regex {
    const items: Regex[] = []
    while (this.#at < this.#text.length && this.#text[this.#at] !== '|') {
      if (this.#text[this.#at] === ')') break
      if (this.#text[this.#at] === '$' && this.#at === this.#text.length - 1) {
        this.#at++
        this.#endsInDollar = true
        break
      }
      items.push(this.#quantified(this.#atom()))
    }
    return items.length === 1 ? items[0]! : { of: 'sequence', items }
  }

  #atom(): Regex {
    if (this.#take('(?:') || (this.#text[this.#at + 1] !== '?' && this.#take('('))) {
      const inner = this.#alternatives()
      if (!this.#take(')')) this.#refuse()
      return inner
    }
    if (this.#take('[')) return { of: 'characters', set: this.#class() }
    if (this.#take('.')) return { of: 'characters', set: dot }
    if ('^$(*+?{'.includes(this.#text[this.#at]!)) this.#refuse()
    return { of: 'characters', set: this.#character() }
  }

  #quantified(item: Regex): Regex {
    const bounds = this.#bounds()
    if (!bounds) return item
    this.#take('?') // which of several matches is taken does not matter
    const { min, max } = bounds
    if ((max ?? min) > maxRepeats)
      notEnforced(this.#path, `an expression of at most ${maxRepeats} repetitions`, max ?? min)
    return { of: 'repeat', item, min, max }
  }

  #bounds(): { min: number; max: number | undefined } | undefined {
    if (this.#take('*')) return { min: 0, max: undefined }
    if (this.#take('+')) return { min: 1, max: undefined }
    if (this.#take('?')) return { min: 0, max: 1 }
    const rest = this.#text.slice(this.#at, this.#at + 16).join('')
    const [all, low, comma, high] = /^\{(\d+)(,?)(\d*)\}/.exec(rest) ?? []
    if (all === undefined) return undefined
    this.#at += all.length
    const min = Number(low)
    return { min, max: high !== '' ? Number(high) : comma === '' ? min : undefined }
  }

  #class(): Characters {
    const negated = this.#take('^')
    const ranges: (readonly [number, number])[] = []
    while (!this.#take(']')) {
      if (this.#at >= this.#text.length) this.#refuse()
      const from = this.#character()
      const dash = this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']'
      if (dash) this.#at++
      const to = dash ? this.#character() : from
      const ends = [...from.ranges, ...to.ranges]
      if (dash && (ends.length !== 2 || ends.some(([a, b]) => a !== b))) this.#refuse()
      if (dash) ranges.push([ends[0]![0], ends[1]![0]])
      else ranges.push(...from.ranges)
    }
    const set = new Characters(ranges)
    return negated ? set.not() : set
  }

  #character(): Characters {
    if (!this.#take('\\')) return Characters.one(this.#text[this.#at++]!.codePointAt(0)!)
    const rest = this.#text.slice(this.#at, this.#at + 10).join('')
    const [all, braced, plain] =
      /^u\{([0-9a-f]{1,6})\}|^(?:u([0-9a-f]{4})|x([0-9a-f]{2}))/i.exec(rest) ?? []
    if (all !== undefined) {
      this.#at += all.length
      const code = Number.parseInt(braced ?? plain ?? all.slice(1), 16)
      return new Characters([[code, code]])
    }
    const letter = this.#text[this.#at++] ?? ''
    const found = named[letter]
    if (found) return found
    if (/[a-zA-Z0-9]/.test(letter) || letter === '') {
      this.#at--
      this.#refuse()
    }
    return Characters.of(letter)
  }
}

/**
 * @param search the expression may match a part of the text, as in JSON Schema
 * @throws {MoeError} ERR_MOE_OPTION for what is no regular expression, ERR_MOE_UNSUPPORTED for what is not enforced
 */
export function readRegex(path: string, text: string, search: boolean): Regex {
  if (text.length > maxLength)
    notEnforced(path, `an expression of at most ${maxLength} characters`, text.length)
  try {
    new RegExp(text, 'u')
  } catch {
    badOption('generate', path, 'a regular expression', text)
  }
  return new Reader(path, text).whole(search)
}
