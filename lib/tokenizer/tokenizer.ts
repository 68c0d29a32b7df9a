import { badOption } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { runAtOnce, runInSlices, type Steps } from './slices.ts'

/** Turns ids into text piece by piece, without ever giving half a character. */
export interface TextStream {
  /** The text that is complete now. */
  push(id: number): string
  /** What is left; bytes that are no character become U+FFFD. */
  end(): string
}

export interface EncodeOptions {
  /** Add the ids that the tokenizer puts around a text, such as BOS. Default true. */
  addSpecialTokens?: boolean
}

export interface EncodeAsyncOptions extends EncodeOptions {
  /** Ends the work; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

export interface DecodeOptions {
  /** Give the text of special tokens, too. Default false. */
  special?: boolean
}

/** Text to ids and back. */
export interface Tokenizer {
  /** Number of ids that the tokenizer can produce; the model's vocabulary may be padded beyond it. */
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  /** Special tokens by their text. In a text they become their id. */
  readonly specialIds: ReadonlyMap<string, number>
  /**
   * @throws {MoeError} ERR_MOE_OPTION
   */
  encode(text: string, options?: EncodeOptions): number[]
  /**
   * The same ids, without holding up the event loop: long texts are encoded in slices of some milliseconds.
   *
   * @throws {MoeError} ERR_MOE_OPTION
   */
  encodeAsync(text: string, options?: EncodeAsyncOptions): Promise<number[]>
  /**
   * Text of ids; special tokens are left out unless `special`, and ids that stand for nothing always.
   *
   * @throws {MoeError} ERR_MOE_OPTION
   */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string
  /** Decodes as ids come. `previousId` is the one before the first, if there is one. */
  stream(previousId?: number): TextStream
}

/** Texts up to so many units are encoded at once also by encodeAsync. */
const shortText = 1024

const flag = (where: string, name: string, value: unknown): boolean => {
  if (typeof value !== 'boolean') badOption(where, name, 'true or false', value)
  return value
}

export function checkId(where: string, id: unknown): void {
  if (!Number.isInteger(id)) badOption(where, 'id', 'a token id', id)
}

/** What the kinds share: checked arguments, and encoding at once or in slices. */
export abstract class CheckedTokenizer implements Tokenizer {
  abstract readonly size: number
  abstract readonly bosId: number | undefined
  abstract readonly eosId: number | undefined
  abstract readonly specialIds: ReadonlyMap<string, number>

  /** @param text has no lone surrogates */
  protected abstract encodeSteps(text: string, addSpecialTokens: boolean): Steps<number[]>
  protected abstract decodeIds(ids: readonly number[], special: boolean): string
  protected abstract streamBehind(previousId: number | undefined): TextStream

  encode(text: string, options: EncodeOptions = {}): number[] {
    return runAtOnce(this.#steps('encode', text, options))
  }

  async encodeAsync(text: string, options: EncodeAsyncOptions = {}): Promise<number[]> {
    const steps = this.#steps('encodeAsync', text, options)
    options.signal?.throwIfAborted()
    return text.length <= shortText ? runAtOnce(steps) : runInSlices(steps, options.signal)
  }

  #steps(where: string, text: string, options: EncodeAsyncOptions): Steps<number[]> {
    if (typeof text !== 'string') badOption(where, 'text', 'a string', text)
    checkOptions(where, options)
    const { addSpecialTokens = true } = options
    flag(where, 'addSpecialTokens', addSpecialTokens)
    // As UTF-8 has it: a lone surrogate is U+FFFD.
    const wellFormed = (text as string & { toWellFormed(): string }).toWellFormed()
    return this.encodeSteps(wellFormed, addSpecialTokens)
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    if (typeof ids !== 'object' || ids === null || !Number.isInteger(ids.length))
      badOption('decode', 'ids', 'a list of token ids', ids)
    checkOptions('decode', options as object)
    const special = flag('decode', 'special', options.special ?? false)
    const list = Array.from(ids)
    const bad = list.findIndex((id) => !Number.isInteger(id))
    if (bad >= 0) badOption('decode', `ids[${bad}]`, 'a token id', list[bad])
    return this.decodeIds(list, special)
  }

  stream(previousId?: number): TextStream {
    if (previousId !== undefined) checkId('stream', previousId)
    return this.streamBehind(previousId)
  }
}
