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

interface Node {
  edges: { set: Characters; to: number }[]
  free: number[]
}

/** Thompson's construction. */
class Network {
  readonly nodes: Node[] = []
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  node(): number {
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
        for (const item of regex.items) this.#free(this.add(this.#copy(from), item, spelling), end)
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

  #characters(from: number, set: Characters, spelling: Spelling): number {
    const end = this.node()
    const direct = spelling === 'json' ? set.without(needEscapes) : set
    if (direct.ranges.length > 0) this.nodes[from]!.edges.push({ set: direct, to: end })
    if (spelling === 'plain') return end
    const escaped = Object.keys(escapes).filter((c) => set.has(c.codePointAt(0)!))
    if (escaped.length > 0) {
      const behind = this.node()
      this.nodes[from]!.edges.push({ set: backslash, to: behind })
      const letters = Characters.of(escaped.map((c) => escapes[c]!).join(''))
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
    return [...all].sort((a, b) => a - b)
  }
}

/** Where each character leads: sets that do not overlap. */
function transitions(
  network: Network,
  state: readonly number[],
): { set: Characters; to: number[] }[] {
  const edges = state.flatMap((node) => network.nodes[node]!.edges)
  const cuts = new Set(edges.flatMap(({ set }) => set.ranges.flatMap(([a, b]) => [a, b + 1])))
  const sorted = [...cuts].sort((a, b) => a - b)
  const found = new Map<string, { ranges: [number, number][]; to: number[] }>()
  for (const [i, from] of sorted.slice(0, -1).entries()) {
    const to = network.closure(edges.flatMap((edge) => (edge.set.has(from) ? [edge.to] : [])))
    if (to.length === 0) continue
    const key = to.join()
    const known = found.get(key) ?? { ranges: [], to }
    known.ranges.push([from, sorted[i + 1]! - 1])
    found.set(key, known)
  }
  return [...found.values()].map(({ ranges, to }) => ({ set: new Characters(ranges), to }))
}

/**
 * One rule for each state of the ways' deterministic automaton. XGrammar 0.1.27 takes texts that are none where the
 * alternatives of a rule begin alike, and masks of such rules are slow.
 */
export function automaton(rules: Rules, path: string, ways: readonly Way[], follow = ''): string {
  const network = new Network(path)
  const start = network.node()
  const tails = new Map<number, string>()
  for (const { regex, spelling = 'plain', tail } of ways) {
    const from = network.node()
    network.nodes[start]!.free.push(from)
    tails.set(network.add(from, regex, spelling), tail)
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
  const arrow = ({ set, to }: { set: Characters; to: number[] }): string[] => {
    let text = ''
    let at = { set, to }
    for (;;) {
      const only = at.set.only
      if (only === undefined) break
      text += only
      const next = tailsOf(at.to).length > 0 ? [] : transitions(network, at.to)
      if (next.length !== 1 || next[0]!.set.only === undefined || names.has(at.to.join()))
        return [`${literal(text)} ${nameOf(at.to)}`]
      at = next[0]!
    }
    return at.set.texts(path).map((one) => `${one} ${nameOf(at.to)}`)
  }
  const name = nameOf(network.closure([start]))
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [rule, state] = next
    const all = [...tailsOf(state), ...transitions(network, state).flatMap(arrow)]
    rules.define(rule, all.join(' | '), follow)
  }
  return name
}

/** A text as it is. */
export const textRegex = (text: string): Regex =>
  sequenceOf(Array.from(text, (c) => ({ of: 'characters', set: Characters.of(c) })))
