import { checkId, type TextStream } from './tokenizer.ts'

/**
 * Streaming over a decoder that only knows whole texts: decode a window of the last tokens with and without
 * the new one; the difference is new. A text that ends in U+FFFD is an unfinished character and waits.
 */
export class SuffixStream implements TextStream {
  readonly #decode: (ids: readonly number[]) => string
  readonly #ids: number[]
  /** Tokens before `#start` no longer matter; those before `#done` have been given. */
  #start = 0
  #done: number

  /** @param context what stands before, as far as it matters */
  constructor(decode: (ids: readonly number[]) => string, context: readonly number[]) {
    this.#decode = decode
    this.#ids = [...context]
    this.#done = context.length
  }

  push(id: number): string {
    checkId('push', id)
    this.#ids.push(id)
    return this.#take(false)
  }

  end(): string {
    return this.#take(true)
  }

  #take(all: boolean): string {
    const given = this.#decode(this.#ids.slice(this.#start, this.#done))
    const text = this.#decode(this.#ids.slice(this.#start))
    if (!all && text.endsWith('\ufffd')) return ''
    // A token without text, such as a special one, tells the decoder nothing of what stands before.
    if (text.length > given.length) this.#start = this.#done
    this.#done = this.#ids.length
    // Bytes at the end of `given` may have become a character.
    let same = 0
    while (same < given.length && text[same] === given[same]) same++
    return text.slice(same)
  }
}
