import { withAny } from '../aborts.ts'

interface Waiting {
  count: number
  serve(blocks: number[]): void
}

/** The free blocks of the cache, and who waits for some: whoever came first is served first. */
export class BlockList {
  readonly size: number
  readonly #free: number[]
  #waiting: Waiting[] = []

  constructor(size: number) {
    this.size = size
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i)
  }

  /** Waits until so many blocks are free, at most `size`; rejects when one of `signals` aborts. */
  take(count: number, signals: readonly AbortSignal[]): Promise<number[]> {
    return withAny(signals, (signal) => {
      signal.throwIfAborted()
      return new Promise((resolve, reject) => {
        const one = { count, serve: resolve }
        this.#waiting.push(one)
        signal.addEventListener('abort', () => {
          this.#waiting = this.#waiting.filter((other) => other !== one)
          reject(signal.reason)
          this.#serve()
        })
        this.#serve()
      })
    })
  }

  give(blocks: readonly number[]): void {
    this.#free.push(...blocks)
    this.#serve()
  }

  #serve(): void {
    for (let [first] = this.#waiting; first && first.count <= this.#free.length; ) {
      this.#waiting.shift()
      first.serve(this.#free.splice(this.#free.length - first.count))
      ;[first] = this.#waiting
    }
  }
}
