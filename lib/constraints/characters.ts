import { literal, notEnforced } from './rules.ts'

const last = 0x10ffff
/** Characters beyond ASCII that are listed one by one. */
const maxListed = 512

const single: Characters[] = []

/** A set of characters: sorted ranges of code points that do not touch. */
export class Characters {
  readonly ranges: readonly (readonly [number, number])[]

  constructor(ranges: Iterable<readonly [number, number]>) {
    const merged: [number, number][] = []
    for (const [from, to] of [...ranges].sort(([a], [b]) => a - b)) {
      const before = merged.at(-1)
      if (before && from <= before[1] + 1) before[1] = Math.max(before[1], to)
      else merged.push([from, to])
    }
    this.ranges = merged
  }

  static of(text: string): Characters {
    return new Characters(Array.from(text, (c) => [c.codePointAt(0)!, c.codePointAt(0)!] as const))
  }

  /** The set of one character; those of ASCII are made once. */
  static one(code: number): Characters {
    const known = single[code] ?? new Characters([[code, code]])
    if (code < 128) single[code] = known
    return known
  }

  or(other: Characters): Characters {
    return new Characters([...this.ranges, ...other.ranges])
  }

  not(): Characters {
    const out: [number, number][] = []
    let next = 0
    for (const [from, to] of this.ranges) {
      if (from > next) out.push([next, from - 1])
      next = to + 1
    }
    if (next <= last) out.push([next, last])
    return new Characters(out)
  }

  without(other: Characters): Characters {
    return this.not().or(other).not()
  }

  has(code: number): boolean {
    return this.ranges.some(([from, to]) => from <= code && code <= to)
  }

  /** The one that it has; undefined: none or several. */
  get only(): string | undefined {
    const [range, more] = this.ranges
    return range && !more && range[0] === range[1] ? String.fromCodePoint(range[0]) : undefined
  }

  /**
   * As classes and literals of a grammar. Classes there know ASCII, and all that is beyond it together, so other sets of
   * such characters are listed where they are few.
   */
  texts(path: string): string[] {
    const ascii = new Characters(
      this.ranges.filter(([from]) => from < 128).map(([from, to]) => [from, Math.min(to, 127)]),
    )
    const beyond = this.without(new Characters([[0, 127]])).ranges
    const inside = ascii.ranges.length === 0 ? [] : [`[${classOf(ascii.ranges)}]`]
    if (beyond.length === 1 && beyond[0]![0] === 128 && beyond[0]![1] === last) {
      const missing = ascii.not().ranges.filter(([from]) => from < 128)
      const outside = classOf(missing.map(([from, to]) => [from, Math.min(to, 127)]))
      return outside === '' ? [...inside, '[^\\x00-\\x7f]'] : [`[^${outside}]`]
    }
    const count = beyond.reduce((n, [from, to]) => n + to - from + 1, 0)
    if (count > maxListed)
      notEnforced(
        path,
        `a class of all characters beyond ASCII, or at most ${maxListed}`,
        `one of ${count}`,
      )
    const listed = beyond.flatMap(([from, to]) =>
      Array.from({ length: to - from + 1 }, (_, i) => literal(String.fromCodePoint(from + i))),
    )
    return [...inside, ...listed]
  }
}

const classOf = (ranges: readonly (readonly [number, number])[]): string => {
  const one = (code: number) => `\\x${code.toString(16).padStart(2, '0')}`
  return ranges.map(([from, to]) => (from === to ? one(from) : `${one(from)}-${one(to)}`)).join('')
}
