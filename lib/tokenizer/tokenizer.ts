import { badOption } from '../errors.ts'
import { checkOptions, flagOption, signalOption } from '../options.ts'
import { runAtOnce, runInSlices, type Steps } from './slices.ts'

/** Turns ids into text piece by piece, without ever giving half a character. */
export interface TextStream {
  /** The text that is complete now. */
  push(id: number): string
  /** What is left; bytes that are no character become U+FFFD. */
  end(): string
}

/** Options of `tokenizer.encode`. */
export interface EncodeOptions {
  /** Add the ids that the tokenizer puts around a text, such as BOS. Default true. */
  addSpecialTokens?: boolean
}

/** Options of `tokenizer.encodeAsync`. */
export interface EncodeAsyncOptions extends EncodeOptions {
  /** Ends the work; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Options of `tokenizer.decode`. */
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
  stream(previousId?: number, options?: DecodeOptions): TextStream
}

/** Texts up to so many units are encoded at once also by encodeAsync. */
const shortText = 1024
/** More ids than any text has. */
const maxIds = 2 ** 28

/** As UTF-8 has it: a lone surrogate is U+FFFD. */
const wellFormed = (text: string): string =>
  (text as string & { toWellFormed(): string }).toWellFormed()

async function inSlices(
  text: string,
  steps: Steps<number[]>,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  signal?.throwIfAborted()
  return text.length <= shortText ? runAtOnce(steps) : runInSlices(steps, signal)
}

export function checkId(where: string, id: unknown): void {
  if (!Number.isInteger(id)) badOption(where, 'id', 'a token id', id)
}

/** One kind of tokenizer. Its arguments are right. */
export interface TokenizerCore extends Pick<Tokenizer, 'size' | 'bosId' | 'eosId' | 'specialIds'> {
  /**
   * @param text has no lone surrogates
   * @param mark a character that is no part of the text: no token reaches over it
   */
  encodeSteps(text: string, addSpecialTokens: boolean, mark?: string): Steps<number[]>
  decodeIds(ids: readonly number[], special: boolean): string
  /** An id's bytes in GPT-2's letters; '' for special ones and what is no text. */
  lettersOf(id: number): string
  streamBehind(previousId: number | undefined, special: boolean): TextStream
}

/** A text's parts between marks. */
export const cutAtMarks = (text: string, mark: string | undefined): string[] =>
  mark === undefined ? [text] : text.split(mark).filter((part) => part !== '')

/** What the kinds share: checked arguments, and encoding at once or in slices. */
export class CheckedTokenizer implements Tokenizer {
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly specialIds: ReadonlyMap<string, number>
  readonly #core: TokenizerCore

  constructor(core: TokenizerCore) {
    this.#core = core
    this.size = core.size
    this.bosId = core.bosId
    this.eosId = core.eosId
    this.specialIds = core.specialIds
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    checkOptions('encode', options, { addSpecialTokens: true })
    return runAtOnce(this.#steps('encode', text, options.addSpecialTokens))
  }

  async encodeAsync(text: string, options: EncodeAsyncOptions = {}): Promise<number[]> {
    checkOptions('encodeAsync', options, { addSpecialTokens: true, signal: true })
    const { addSpecialTokens, signal: given } = options
    const signal = signalOption('encodeAsync', given)
    return inSlices(text, this.#steps('encodeAsync', text, addSpecialTokens), signal)
  }

  /**
   * Ids of a text in which no token reaches over a mark, without those around a text.
   *
   * @param mark a character that is no part of the text
   */
  static async encodeMarked(
    tokenizer: CheckedTokenizer,
    text: string,
    mark: string,
    signal: AbortSignal,
  ): Promise<number[]> {
    return inSlices(text, tokenizer.#core.encodeSteps(wellFormed(text), false, mark), signal)
  }

  /** Of every id, its bytes in GPT-2's letters; '' for special ones and what is no text. */
  static letters(tokenizer: CheckedTokenizer): string[] {
    return Array.from({ length: tokenizer.size }, (_, id) => tokenizer.#core.lettersOf(id))
  }

  /** The same of one id. */
  static lettersOf(tokenizer: CheckedTokenizer, id: number): string {
    return tokenizer.#core.lettersOf(id)
  }

  #steps(where: string, text: string, addSpecialTokens: boolean | undefined): Steps<number[]> {
    if (typeof text !== 'string') badOption(where, 'text', 'a string', text)
    const add = flagOption(where, 'addSpecialTokens', addSpecialTokens ?? true)
    return this.#core.encodeSteps(wellFormed(text), add)
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const length = typeof ids === 'object' && ids !== null ? ids.length : undefined
    if (!Number.isInteger(length) || length! < 0 || length! > maxIds)
      badOption('decode', 'ids', `a list of at most ${maxIds} token ids`, ids)
    checkOptions('decode', options, { special: true })
    const special = flagOption('decode', 'special', options.special)
    const list = Array.from({ length: length! }, (_, i) => ids[i]!)
    const bad = list.findIndex((id) => !Number.isInteger(id))
    if (bad >= 0) badOption('decode', `ids[${bad}]`, 'a token id', list[bad])
    return this.#core.decodeIds(list, special)
  }

  stream(previousId?: number, options: DecodeOptions = {}): TextStream {
    if (previousId !== undefined) checkId('stream', previousId)
    checkOptions('stream', options, { special: true })
    return this.#core.streamBehind(previousId, flagOption('stream', 'special', options.special))
  }
}
