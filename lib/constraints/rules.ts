import { MoeError, shown } from '../errors.ts'

/** Grammars beyond it take more than some seconds to compile. */
const maxRules = 6000

/** Steps of building one: a tenth of a second, in which JavaScript does nothing else. */
const maxSteps = 500_000

/** `path` must be `expected`: anything else would not hold for what is generated. */
export function notEnforced(path: string, expected: string, got: unknown): never {
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `generate: ${path} must be ${expected}, got ${shown(got)}`,
  )
}

const hex = (code: number): string => `\\x${code.toString(16).padStart(2, '0')}`

/** A text as a grammar's literal. */
export const literal = (text: string): string =>
  `"${Array.from(text, (c) => (c < ' ' ? hex(c.charCodeAt(0)) : c === '"' || c === '\\' ? `\\${c}` : c)).join('')}"`

/**
 * The rules of one grammar, in the notation of XGrammar: GBNF with `(= …)` for what must follow. A rule for each thing
 * that is repeated, the recursion at its right end: masks of such rules are computed ahead, those of nested groups at
 * every token.
 */
export class Rules {
  readonly #rules: string[] = []
  readonly #named = new Map<string, string>()
  #steps = 0

  /** Counts what is built for `path`. It does not depend on the time: an answer must not. */
  spend(path: string, steps: number): void {
    this.#steps += steps
    if (this.#steps > maxSteps)
      notEnforced(path, 'a part of less work', `more than ${maxSteps} steps of it`)
  }

  /** A rule's name; `body` may use it. `follow`: the characters that can stand behind it, as a class. */
  rule(path: string, body: (name: string) => string, follow = ''): string {
    const name = this.reserve(path)
    this.define(name, body(name), follow)
    return name
  }

  /** A name whose rule is still to come. */
  reserve(path: string): string {
    if (this.#rules.length === maxRules)
      notEnforced(path, `a part of at most ${maxRules} rules`, 'more')
    return `r${this.#rules.push('') - 1}`
  }

  define(name: string, body: string, follow = ''): void {
    const ahead = follow === '' ? '' : ` (= ${follow})`
    this.#rules[Number(name.slice(1))] = `${name} ::= (${body})${ahead}`
  }

  /** The rule of that key, made once. */
  once(key: string, make: () => string): string {
    const known = this.#named.get(key) ?? make()
    this.#named.set(key, known)
    return known
  }

  /** `min` to `max` times one of the alternatives, with `between` in between and `end` behind. */
  repeat(path: string, alternatives: readonly string[], options: Repetition): string {
    const { min, max, between = '""', end = '""', follow = '' } = options
    if (max !== undefined && max < min)
      notEnforced(path, `${min} times at least where it is ${max} at most`, 'both')
    const place = (n: number, mayEnd: boolean, behind: string): string =>
      [
        ...(mayEnd ? [end] : []),
        ...alternatives.map((one) => `${n === 0 ? '' : `${between} `}${one} ${behind}`),
      ].join(' | ')
    let rest = end
    // Where there is no end, all places behind the first ones are the same.
    if (max === undefined) rest = this.rule(path, (name) => place(1, true, name), follow)
    for (let n = (max ?? Math.max(1, min)) - 1; n >= 0; n--) {
      const behind = rest
      rest = this.rule(path, () => place(n, n >= min, behind), follow)
    }
    return rest
  }

  /** All of it, beginning with `start`. */
  text(start: string): string {
    return [`root ::= ${start}`, ...this.#rules].join('\n')
  }
}

export interface Repetition {
  min: number
  /** undefined: any number. */
  max: number | undefined
  between?: string
  end?: string
  follow?: string
}
