/** Turns ids into text piece by piece, without ever giving half a character. */
export interface TextStream {
  /** The text that is complete now. */
  push(id: number): string
  /** What is left; incomplete characters become U+FFFD. */
  end(): string
}

export interface EncodeOptions {
  /** Add the ids that the tokenizer puts around a text, such as BOS. Default true. */
  addSpecialTokens?: boolean
}

/** Text to ids and back. */
export interface Tokenizer {
  /** Number of ids that the tokenizer can produce; the model's vocabulary may be padded beyond it. */
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  /** Special tokens by their text. In a text they become their id. */
  readonly specialIds: ReadonlyMap<string, number>
  encode(text: string, options?: EncodeOptions): number[]
  /** Text of ids; special tokens are left out unless `special`. */
  decode(ids: ArrayLike<number>, options?: { special?: boolean }): string
  /** Decodes as ids come. `previousId` is the one before the first, if there is one. */
  stream(previousId?: number): TextStream
}
