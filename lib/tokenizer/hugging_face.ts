import { Tokenizer as Pipeline } from '@huggingface/tokenizers'
import { MoeError } from '../errors.ts'
import type { Json } from '../weights/json.ts'
import type { EncodeOptions, TextStream, Tokenizer } from './tokenizer.ts'

interface AddedToken {
  id: number
  content: string
  special: boolean
}

/** A `tokenizer.json`, run by @huggingface/tokenizers. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly specialIds: ReadonlyMap<string, number>
  readonly #pipeline: Pipeline

  constructor(
    label: string,
    json: Json,
    config: Json,
    names: { bos: string | undefined; eos: string | undefined },
  ) {
    try {
      this.#pipeline = new Pipeline(json, config)
    } catch (cause) {
      throw new MoeError('ERR_MOE_CHECKPOINT', `${label}: file must be a tokenizer, got ${cause}`, {
        cause,
      })
    }
    const added = ((json.added_tokens as AddedToken[] | undefined) ?? []).filter(
      (token) => token.special,
    )
    this.specialIds = new Map(added.map((token) => [token.content, token.id]))
    const vocabulary = (json.model as Json | undefined)?.vocab
    const ids = Array.isArray(vocabulary)
      ? vocabulary.map((_, i) => i)
      : Object.values((vocabulary ?? {}) as Record<string, number>)
    this.size = 1 + [...ids, ...this.specialIds.values()].reduce((a, b) => Math.max(a, b), -1)
    this.bosId = names.bos === undefined ? undefined : this.#pipeline.token_to_id(names.bos)
    this.eosId = names.eos === undefined ? undefined : this.#pipeline.token_to_id(names.eos)
  }

  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    return this.#pipeline.encode(text, { add_special_tokens: addSpecialTokens }).ids
  }

  decode(ids: ArrayLike<number>, { special = false }: { special?: boolean } = {}): string {
    if (ids.length === 0) return ''
    return this.#pipeline.decode(Array.from(ids), {
      skip_special_tokens: !special,
      clean_up_tokenization_spaces: false,
    })
  }

  stream(): TextStream {
    return new SuffixStream((ids) => this.decode(ids))
  }
}

/**
 * Streaming over a decoder that only knows whole texts: decode a window of the last tokens with and without
 * the new one; the difference is new. A text that ends in U+FFFD is an unfinished character and waits.
 */
class SuffixStream implements TextStream {
  readonly #decode: (ids: number[]) => string
  readonly #ids: number[] = []
  /** Tokens before `#start` no longer matter; those before `#done` have been given. */
  #start = 0
  #done = 0

  constructor(decode: (ids: number[]) => string) {
    this.#decode = decode
  }

  push(id: number): string {
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
    this.#start = this.#done
    this.#done = this.#ids.length
    return text.slice(given.length)
  }
}
