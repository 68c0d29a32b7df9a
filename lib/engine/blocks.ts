/** Which blocks of the key/value cache are free, and how many sequences share each of the others. */
export class BlockPool {
  readonly #free: number[]
  readonly #users: Uint32Array
  readonly size: number

  constructor(size: number) {
    this.size = size
    this.#users = new Uint32Array(size)
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i)
  }

  get free(): number {
    return this.#free.length
  }

  take(): number {
    const block = this.#free.pop()!
    this.#users[block] = 1
    return block
  }

  share(block: number): void {
    this.#users[block]!++
  }

  shared(block: number): boolean {
    return this.#users[block]! > 1
  }

  release(block: number): void {
    if (--this.#users[block]! === 0) this.#free.push(block)
  }
}
