/** Keeps what was made for the last `limit` keys. */
export class PlanCache<T> {
  readonly #entries = new Map<string, T>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  /** What is known for `key`, else what `make` makes. */
  get(key: string, make: () => T): T {
    const entry = this.#entries.get(key) ?? make()
    this.#entries.delete(key) // to the end: the oldest goes first
    this.#entries.set(key, entry)
    if (this.#entries.size > this.#limit) this.#entries.delete(this.#entries.keys().next().value!)
    return entry
  }

  /** What is kept. */
  values(): Iterable<T> {
    return this.#entries.values()
  }

  clear(): void {
    this.#entries.clear()
  }
}
