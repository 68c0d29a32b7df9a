/**
 * Hash table from two integers to one that is not negative. A Map would need one key for both, which beyond
 * 31 bits is an object on the heap for each lookup.
 */
export class PairTable {
  #size = 0
  #mask: number
  #first: Int32Array
  #second: Int32Array
  /** -1: the slot is free. */
  #value: Int32Array

  constructor(expected = 16) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(16, 2 * expected)))
    this.#mask = capacity - 1
    this.#first = new Int32Array(capacity)
    this.#second = new Int32Array(capacity)
    this.#value = new Int32Array(capacity).fill(-1)
  }

  #slot(first: number, second: number): number {
    let hash = Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b)
    hash ^= hash >>> 15
    for (let i = hash & this.#mask; ; i = (i + 1) & this.#mask)
      if (this.#value[i] === -1 || (this.#first[i] === first && this.#second[i] === second))
        return i
  }

  /** -1 when there is none. */
  get(first: number, second: number): number {
    return this.#value[this.#slot(first, second)]!
  }

  set(first: number, second: number, value: number): void {
    const slot = this.#slot(first, second)
    if (this.#value[slot] === -1 && ++this.#size > this.#mask / 2) {
      this.#grow()
      this.set(first, second, value)
      return
    }
    this.#first[slot] = first
    this.#second[slot] = second
    this.#value[slot] = value
  }

  #grow(): void {
    const larger = new PairTable(this.#mask + 1)
    for (let i = 0; i <= this.#mask; i++)
      if (this.#value[i] !== -1) larger.set(this.#first[i]!, this.#second[i]!, this.#value[i]!)
    this.#size = larger.#size
    this.#mask = larger.#mask
    this.#first = larger.#first
    this.#second = larger.#second
    this.#value = larger.#value
  }
}
