import type { GenerateChunk, GenerateResult } from './completion.ts'

/**
 * A running generation: an async iterable of chunks and a promise of the whole result. It runs whether or not
 * anybody iterates; leaving the loop early stops it.
 */
export class Generation implements AsyncIterable<GenerateChunk>, PromiseLike<GenerateResult> {
  readonly #chunks: GenerateChunk[] = []
  readonly #result: Promise<GenerateResult>
  readonly #left = new AbortController()
  /** Iterators that have seen every chunk so far. */
  #waiting: (() => void)[] = []
  #ended = false

  /**
   * @internal use model.generate() or sequence.generate()
   * @param run gives chunks to `emit` and ends when `left` is aborted
   */
  constructor(
    run: (emit: (chunk: GenerateChunk) => void, left: AbortSignal) => Promise<GenerateResult>,
  ) {
    this.#result = run((chunk) => {
      this.#chunks.push(chunk)
      this.#wake()
    }, this.#left.signal)
    this.#result
      .catch(() => {}) // whoever iterates gets the error there
      .finally(() => {
        this.#ended = true
        this.#wake()
      })
  }

  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume()
  }

  // biome-ignore lint/suspicious/noThenProperty: being awaitable is the point
  then<A = GenerateResult, B = never>(
    onFulfilled?: ((value: GenerateResult) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onFulfilled, onRejected)
  }

  catch<B = never>(
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<GenerateResult | B> {
    return this.#result.catch(onRejected)
  }

  finally(onFinally?: (() => void) | null): Promise<GenerateResult> {
    return this.#result.finally(onFinally)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateChunk, void, undefined> {
    let next = 0
    try {
      for (;;) {
        while (next < this.#chunks.length) yield this.#chunks[next++]!
        if (this.#ended) break
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
      }
      await this.#result
    } finally {
      if (!this.#ended)
        this.#left.abort(new DOMException('The generation was left early', 'AbortError'))
    }
  }
}
