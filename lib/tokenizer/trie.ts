import { PairTable } from './pair_table.ts'

/** Strings by their UTF-16 units, each with a value that is not negative. */
export class Trie {
  readonly #children = new PairTable()
  readonly #values: number[] = [-1]
  /** Children of the root by their unit, where most searches end. */
  readonly #first = new Int32Array(1 << 16).fill(-1)

  set(key: string, value: number): void {
    let node = 0
    for (let i = 0; i < key.length; i++) {
      let child = this.child(node, key.charCodeAt(i))
      if (child < 0) {
        child = this.#values.push(-1) - 1
        if (node === 0) this.#first[key.charCodeAt(i)] = child
        else this.#children.set(node, key.charCodeAt(i), child)
      }
      node = child
    }
    this.#values[node] = value
  }

  /** The root is node 0; -1: no key goes on like that. */
  child(node: number, unit: number): number {
    return node === 0 ? this.#first[unit]! : this.#children.get(node, unit)
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
