/**
 * Strings by their UTF-16 units, each with a value that is not negative. Nodes are numbered level by level, so
 * that the children of one stand side by side, in the order of their units.
 */
export class Trie {
  /** A node's unit, its first child (the next node's first child ends them), its value (-1: no key ends there). */
  readonly #units: Uint16Array
  readonly #firstChild: Int32Array
  readonly #values: Int32Array
  /** Children of the root by their unit, where most searches end. */
  readonly #roots = new Int32Array(1 << 16).fill(-1)

  constructor(entries: ReadonlyMap<string, number>) {
    const keys = [...entries.keys()].sort()
    const units = [0]
    const firstChild: number[] = []
    const values: number[] = []
    // Of each node: the keys that go through it, and its depth.
    const ranges: [number, number, number][] = [[0, keys.length, 0]]
    for (let node = 0; node < ranges.length; node++) {
      let [from, to, depth] = ranges[node]!
      values.push(-1)
      firstChild.push(ranges.length)
      if (from < to && keys[from]!.length === depth) values[node] = entries.get(keys[from++]!)!
      while (from < to) {
        const unit = keys[from]!.charCodeAt(depth)
        const start = from
        while (from < to && keys[from]!.charCodeAt(depth) === unit) from++
        if (node === 0) this.#roots[unit] = ranges.length
        units.push(unit)
        ranges.push([start, from, depth + 1])
      }
    }
    firstChild.push(ranges.length)
    this.#units = Uint16Array.from(units)
    this.#firstChild = Int32Array.from(firstChild)
    this.#values = Int32Array.from(values)
  }

  /** The root is node 0; -1: no key goes on like that. */
  child(node: number, unit: number): number {
    if (node === 0) return this.#roots[unit]!
    let low = this.#firstChild[node]!
    let high = this.#firstChild[node + 1]!
    while (high - low > 4) {
      const middle = (low + high) >> 1
      if (this.#units[middle]! <= unit) low = middle
      else high = middle
    }
    for (; low < high; low++) if (this.#units[low] === unit) return low
    return -1
  }

  /** -1: no key ends here. */
  value(node: number): number {
    return this.#values[node]!
  }

  /** The longest key that `text` has at `at`; its length is 0 when there is none. */
  longest(text: string, at: number): { value: number; length: number } {
    const found = { value: -1, length: 0 }
    let node = 0
    for (let i = at; i < text.length; i++) {
      node = this.child(node, text.charCodeAt(i))
      if (node < 0) break
      if (this.value(node) >= 0) {
        found.value = this.value(node)
        found.length = i + 1 - at
      }
    }
    return found
  }
}
