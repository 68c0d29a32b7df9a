import { Characters } from './characters.ts'
import { type Regex, sequenceOf } from './regex.ts'
import { literal, notEnforced, type Rules } from './rules.ts'

/** How a character of the text is written: as itself, or escaped in a JSON string. */
export type Spelling = 'plain' | 'json'

/** One of several beginnings, and what stands behind it. */
export interface Way {
  regex: Regex
  spelling?: Spelling
  /** Rules and literals; '""': nothing. */
  tail: string
}

/** Larger expressions take too long. */
const maxNodes = 40_000

const backslash = Characters.of('\\')
const needEscapes = new Characters([
  [0, 31],
  [34, 34],
  [92, 92],
])
const escapes: Readonly<Record<string, string>> = {
  ...{ '"': '"', '\\': '\\', '\n': 'n', '\r': 'r', '\t': 't', '\b': 'b', '\f': 'f' },
}

const none = new Characters([])
const written = new WeakMap<Characters, { direct: Characters; letters: Characters }>()

/** What stands in a JSON string for each of a set: itself, or a letter behind a backslash. */
function inJson(set: Characters): { direct: Characters; letters: Characters } {
  const known = written.get(set)
  if (known) return known
  const escaped = Object.keys(escapes).filter((c) => set.has(c.codePointAt(0)!))
  const letters = Characters.of(escaped.map((c) => escapes[c]!).join(''))
  const made = { direct: set.without(needEscapes), letters }
  written.set(set, made)
  return made
}

/** The characters of a text; undefined: it is none. */
function textOf(regex: Regex): Characters[] | undefined {
  const items = regex.of === 'sequence' ? regex.items : [regex]
  const sets = items.flatMap((item) =>
    item.of === 'characters' && item.set.only !== undefined ? [item.set] : [],
  )
  return sets.length === items.length ? sets : undefined
}

/** Characters of a state, and the state that they lead to. */
interface Arrow {
  set: Characters
  to: number[]
}

interface Node {
  edges: { set: Characters; to: number }[]
  free: number[]
}

/** Thompson's construction. */
class Network {
  readonly nodes: Node[] = []
  readonly #rules: Rules
  readonly #path: string

  constructor(rules: Rules, path: string) {
    this.#rules = rules
    this.#path = path
  }

  node(): number {
    this.#rules.spend(this.#path, 2)
    if (this.nodes.length === maxNodes) notEnforced(this.#path, 'a smaller expression', 'this one')
    return this.nodes.push({ edges: [], free: [] }) - 1
  }

  /** The node behind `regex` where it begins at `from`. */
  add(from: number, regex: Regex, spelling: Spelling): number {
    switch (regex.of) {
      case 'characters':
        return this.#characters(from, regex.set, spelling)
      case 'sequence':
        return regex.items.reduce((at, item) => this.add(at, item, spelling), from)
      case 'choice': {
        const end = this.node()
        for (const behind of this.each(from, regex.items, spelling)) this.#free(behind, end)
        return end
      }
      case 'repeat': {
        let at = from
        for (let n = 0; n < regex.min; n++) at = this.add(at, regex.item, spelling)
        const end = this.node()
        if (regex.max === undefined) {
          const loop = this.#copy(at)
          this.#free(this.add(loop, regex.item, spelling), loop)
          this.#free(loop, end)
          return end
        }
        for (let n = regex.min; n < regex.max; n++) {
          this.#free(at, end)
          at = this.add(this.#copy(at), regex.item, spelling)
        }
        this.#free(at, end)
        return end
      }
    }
  }

  /** The node behind each of some that begin at `from`. Texts that begin alike share nodes. */
  each(from: number, items: readonly Regex[], spelling: Spelling): number[] {
    let shared: number | undefined
    return items.map((item) => {
      const text = textOf(item)
      if (!text) return this.add(this.#copy(from), item, spelling)
      shared ??= this.#copy(from)
      return text.reduce((at, set) => {
        const known = this.nodes[at]!.edges.find((edge) => edge.set === set)
        return known && spelling === 'plain' ? known.to : this.#characters(at, set, spelling)
      }, shared)
    })
  }

  #characters(from: number, set: Characters, spelling: Spelling): number {
    const end = this.node()
    const { direct, letters } = spelling === 'json' ? inJson(set) : { direct: set, letters: none }
    if (direct.ranges.length > 0) this.nodes[from]!.edges.push({ set: direct, to: end })
    if (letters.ranges.length > 0) {
      const behind = this.node()
      this.nodes[from]!.edges.push({ set: backslash, to: behind })
      this.nodes[behind]!.edges.push({ set: letters, to: end })
    } else if (direct.ranges.length === 0)
      notEnforced(this.#path, 'of characters that JSON has a short escape for', set.ranges)
    return end
  }

  #free(from: number, to: number): void {
    this.nodes[from]!.free.push(to)
  }

  /** A node that nothing else leads back to. */
  #copy(from: number): number {
    const node = this.node()
    this.#free(from, node)
    return node
  }

  /** All nodes that are reached without a character, in order. */
  closure(from: Iterable<number>): number[] {
    const all = new Set(from)
    for (const one of all) for (const next of this.nodes[one]!.free) all.add(next)
    this.#rules.spend(this.#path, all.size)
    return all.size === 1 ? [...all] : [...all].sort((a, b) => a - b)
  }

  /** Where each character leads from a state: sets that do not overlap. */
  transitions(state: readonly number[]): Arrow[] {
    /** At each character, the nodes that its edges lead to from there on, and those that they lead to no more. */
    const changes = new Map<number, { begin: number[]; end: number[] }>()
    const changesAt = (code: number) => {
      const known = changes.get(code) ?? { begin: [], end: [] }
      changes.set(code, known)
      return known
    }
    for (const node of state)
      for (const { set, to } of this.nodes[node]!.edges)
        for (const [first, last] of set.ranges) {
          changesAt(first).begin.push(to)
          changesAt(last + 1).end.push(to)
        }
    const cuts = [...changes.keys()].sort((a, b) => a - b)
    const open = new Map<number, number>()
    const found = new Map<string, { ranges: [number, number][]; to: number[] }>()
    for (const [i, code] of cuts.entries()) {
      const { begin, end } = changes.get(code)!
      for (const to of begin) open.set(to, (open.get(to) ?? 0) + 1)
      for (const to of end) {
        if (open.get(to) === 1) open.delete(to)
        else open.set(to, open.get(to)! - 1)
      }
      this.#rules.spend(this.#path, 4 + begin.length + end.length)
      if (open.size === 0) continue
      const to = this.closure(open.keys())
      const key = to.join()
      const known = found.get(key) ?? { ranges: [], to }
      known.ranges.push([code, cuts[i + 1]! - 1])
      found.set(key, known)
    }
    return [...found.values()].map(({ ranges, to }) => ({ set: new Characters(ranges), to }))
  }
}

/**
 * One rule for each state of the ways' deterministic automaton. XGrammar 0.1.27 takes texts that are none where the
 * alternatives of a rule begin alike, and masks of such rules are slow.
 */
export function automaton(rules: Rules, path: string, ways: readonly Way[], follow = ''): string {
  const network = new Network(rules, path)
  const start = network.node()
  const tails = new Map<number, string[]>()
  for (const spelling of ['plain', 'json'] as const) {
    const all = ways.filter((way) => (way.spelling ?? 'plain') === spelling)
    const ends = network.each(
      start,
      all.map(({ regex }) => regex),
      spelling,
    )
    for (const [i, { tail }] of all.entries())
      tails.set(ends[i]!, [...(tails.get(ends[i]!) ?? []), tail])
  }
  const names = new Map<string, string>()
  const pending: [name: string, state: number[]][] = []
  const nameOf = (state: number[]): string => {
    const key = state.join()
    const known = names.get(key) ?? rules.reserve(path)
    if (!names.has(key)) pending.push([known, state])
    names.set(key, known)
    return known
  }
  const tailsOf = (state: number[]) => state.flatMap((node) => tails.get(node) ?? [])
  /** Follows characters that are the only ones. */
  const arrow = ({ set, to }: Arrow): string[] => {
    let text = ''
    let at = { set, to }
    for (;;) {
      const only = at.set.only
      if (only === undefined) break
      text += only
      const next = tailsOf(at.to).length > 0 ? [] : network.transitions(at.to)
      if (next.length !== 1 || next[0]!.set.only === undefined || names.has(at.to.join()))
        return [`${literal(text)} ${nameOf(at.to)}`]
      at = next[0]!
    }
    return at.set.texts(path).map((one) => `${one} ${nameOf(at.to)}`)
  }
  const name = nameOf(network.closure([start]))
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [rule, state] = next
    const all = [...tailsOf(state), ...network.transitions(state).flatMap(arrow)]
    rules.define(rule, all.join(' | '), follow)
  }
  return name
}

/** A text as it is. */
export const textRegex = (text: string): Regex =>
  sequenceOf(
    Array.from(text, (c) => ({ of: 'characters', set: Characters.one(c.codePointAt(0)!) })),
  )

/** Any of these texts. */
export function oneOfTexts(rules: Rules, path: string, texts: readonly string[]) {
  for (const text of texts) rules.spend(path, 1 + text.length) // before anything is made of them
  return { of: 'choice', items: texts.map(textRegex) } as const
}
