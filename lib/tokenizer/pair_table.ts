/**
 * Hash table from two integers to one that is not negative. A Map would need one key for both, which beyond
 * 31 bits is an object on the heap for each lookup.
 */
export class PairTable {
  #size = 0
  #mask: number
  /** Four numbers a slot, to be in one line of the cache: both keys, the value plus one (0: free), nothing. */
  #slots: Int32Array

  constructor(expected = 16) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(16, 2 * expected)))
    this.#mask = capacity - 1
    this.#slots = new Int32Array(4 * capacity)
  }

  #find(first: number, second: number): number {
    const slots = this.#slots
    const mask = this.#mask
    let hash = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b)
    hash ^= hash >>> 15
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const at = 4 * i
      if (slots[at + 2] === 0 || (slots[at] === first && slots[at + 1] === second)) return at
    }
  }

  /** -1 when there is none. */
  get(first: number, second: number): number {
    return this.#slots[this.#find(first, second) + 2]! - 1
  }

  set(first: number, second: number, value: number): void {
    const at = this.#find(first, second)
    if (this.#slots[at + 2] === 0 && ++this.#size > this.#mask / 2) {
      this.#grow()
      this.set(first, second, value)
      return
    }
    this.#slots[at] = first
    this.#slots[at + 1] = second
    this.#slots[at + 2] = value + 1
  }

  #grow(): void {
    const larger = new PairTable(this.#mask + 1)
    const slots = this.#slots
    for (let at = 0; at < slots.length; at += 4)
      if (slots[at + 2] !== 0) larger.set(slots[at]!, slots[at + 1]!, slots[at + 2]! - 1)
    this.#size = larger.#size
    this.#mask = larger.#mask
    this.#slots = larger.#slots
  }
}
