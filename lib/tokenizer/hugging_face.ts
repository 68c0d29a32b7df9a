import type { Tokenizer as Pipeline } from '@huggingface/tokenizers'
import { MoeError } from '../errors.ts'
import type { Json } from '../weights/json.ts'
import { type AddedToken, AddedTokenSplitter } from './added_tokens.ts'
import { byteLetters, inLetters, lettersOf } from './bytes.ts'
import { decoderOf } from './json_decoder.ts'
import { libraryParts } from './json_library.ts'
import { type JsonModel, libraryModel, readJsonModel } from './json_model.ts'
import { normalizerOf } from './json_normalizer.ts'
import { preTokenizerOf } from './json_pre_tokenizer.ts'
import { hasPatterns, stepsWithin, type Time, timeFor, within } from './patterns.ts'
import { Ids, type PieceModel } from './piece_model.ts'
import { spaceSymbol } from './sentencepiece_normalizer.ts'
import { runAtOnce, type Steps } from './slices.ts'
import { SuffixStream } from './suffix_stream.ts'
import { readAdded, type TokenFiles } from './token_files.ts'
import { cutAtMarks, type TextStream, type TokenizerCore } from './tokenizer.ts'

/** Added tokens of the file and of those beside it; what has a role is special. */
function addedTokens(label: string, json: Json, model: JsonModel, files: TokenFiles): AddedToken[] {
  const added = new Map(files.added.map((token) => [token.content, token]))
  for (const token of readAdded(label, json)) added.set(token.content, token)
  for (const token of files.named) {
    const id = added.get(token.content)?.id ?? model.vocab.get(token.content)
    if (id !== undefined)
      added.set(token.content, { ...token, ...added.get(token.content), id, special: true })
  }
  return [...added.values()]
}

// The parts of a file, in bounded time where it brings patterns of its own.

function normalizeWithin(json: Json | null): (text: string, time: Time) => Steps<string> {
  const bounded = hasPatterns(json)
  const normalize = normalizerOf(json)
  return bounded ? (text, time) => stepsWithin(time, normalize(text)) : normalize
}

function preTokenizeWithin(
  json: Json | null,
): (text: string, first: boolean, time: Time) => Iterable<string | undefined> {
  const bounded = hasPatterns(json)
  const preTokenize = preTokenizerOf(json)
  return bounded
    ? (text, first, time) => stepsWithin(time, preTokenize(text, first)[Symbol.iterator]())
    : preTokenize
}

function decodeWithin(json: Json | null): (tokens: string[]) => string {
  const parts = json && decoderOf(json)
  const decode = (tokens: string[]) => parts?.(tokens).join('') ?? tokens.join(' ')
  if (!hasPatterns(json)) return decode
  return (tokens) => within(timeFor(tokens.join('').length), () => decode(tokens))
}

/** Where a text may be cut before its words are, and how long it may take. */
interface Limits {
  mark: string | undefined
  time: Time
}

/**
 * The ids at one end of a text, `said` by the post-processor. LlamaTokenizer replaces it, by its flags alone, as
 * DeepSeek's files expect; to others a flag adds what is not there.
 */
function byFlag(
  { tokenizer_class, ...flags }: Json,
  key: 'add_bos_token' | 'add_eos_token',
  id: number | undefined,
  said: number[],
): number[] {
  if (id === undefined) return said
  if (!/^LlamaTokenizer/.test(String(tokenizer_class)))
    return flags[key] === true && !said.includes(id) ? [id] : said
  return (flags[key] ?? key === 'add_bos_token') === true ? [id] : []
}

/**
 * A `tokenizer.json`. Post-processors, patterns and rare kinds are @huggingface/tokenizers'; what turns text into
 * ids and back is ours, as that library works on whole texts and leaves out flags of added tokens.
 */
export class HuggingFaceTokenizer implements TokenizerCore {
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly specialIds: ReadonlyMap<string, number>
  readonly #pipeline: Pipeline
  readonly #model: JsonModel
  readonly #pieces: PieceModel
  readonly #normalize: (text: string, time: Time) => Steps<string>
  readonly #preTokenize: (text: string, first: boolean, time: Time) => Iterable<string | undefined>
  readonly #decode: (tokens: string[]) => string
  readonly #plain: AddedTokenSplitter
  readonly #normalized: AddedTokenSplitter
  readonly #tokens: string[] = []
  readonly #specials: ReadonlySet<number>
  readonly #added: ReadonlySet<number>
  /** Tokens are spelled in letters for bytes. */
  readonly #inLetters: boolean
  readonly #before: number[]
  readonly #behind: number[]

  constructor(label: string, json: Json, files: TokenFiles) {
    try {
      this.#model = readJsonModel(label, json.model as Json)
      const { vocab, pieces, unknown } = this.#model
      const added = addedTokens(label, json, this.#model, files)
      const ids = new Map([...vocab, ...added.map(({ content, id }) => [content, id] as const)])
      const { model, added_tokens = [], post_processor, decoder } = json
      const parts = { added_tokens, post_processor, ...(!pieces && { model }) }
      this.#pipeline = libraryParts(parts, files.config)
      this.#pieces = pieces ?? libraryModel(this.#pipeline, (token) => ids.get(token), unknown.id)
      const time = timeFor(2 ** 18)
      this.#normalize = normalizeWithin((json.normalizer ?? null) as Json | null)
      this.#preTokenize = preTokenizeWithin((json.pre_tokenizer ?? null) as Json | null)
      this.#decode = decodeWithin((decoder ?? null) as Json | null)
      this.#plain = new AddedTokenSplitter(added.filter(({ normalized }) => !normalized))
      this.#normalized = new AddedTokenSplitter(
        added.filter(({ normalized }) => normalized),
        ({ content }) => runAtOnce(this.#normalize(content, time)),
      )
      for (const [text, id] of ids) this.#tokens[id] = text
      for (const { id, content, normalized } of added)
        if (normalized) this.#tokens[id] = runAtOnce(this.#normalize(content, time))
      this.#added = new Set(added.map(({ id }) => id))
      this.#inLetters = /"type":"ByteLevel"/.test(JSON.stringify(decoder ?? null))
      const special = added.filter((token) => token.special)
      this.#specials = new Set(special.map(({ id }) => id))
      this.specialIds = new Map(special.map(({ content, id }) => [content, id]))
      this.size = [...ids.values()].reduce((size, id) => Math.max(size, id + 1), 0)
      this.bosId = files.bos === undefined ? undefined : ids.get(files.bos)
      this.eosId = files.eos === undefined ? undefined : ids.get(files.eos)
      const marker = '\0'
      const around = this.#pipeline.post_processor?.post_process([marker], null, true).tokens
      const at = around?.indexOf(marker) ?? -1
      const idsOf = (tokens: string[] = []) => tokens.flatMap((token) => ids.get(token) ?? [])
      const { config } = files
      this.#before = byFlag(config, 'add_bos_token', this.bosId, idsOf(around?.slice(0, at)))
      this.#behind = byFlag(config, 'add_eos_token', this.eosId, idsOf(around?.slice(at + 1)))
      // Parts look at what they are given only when they run.
      this.decodeIds(runAtOnce(this.encodeSteps('A b\u00e9 1', true)), true)
      this.#decode(['A', '\u2581b'])
    } catch (cause) {
      if (cause instanceof MoeError) throw cause
      throw new MoeError('ERR_MOE_CHECKPOINT', `${label}: file must be a tokenizer, got ${cause}`, {
        cause,
      })
    }
  }

  *encodeSteps(text: string, addSpecialTokens: boolean, mark?: string): Steps<number[]> {
    const ids = new Ids(this.#model.unknown)
    if (addSpecialTokens) for (const id of this.#before) ids.push(id)
    const time = timeFor(text.length)
    let first = true
    for (const part of this.#plain.split(text)) {
      if (part === undefined) yield
      else if (typeof part === 'string') yield* this.#encodePart(part, first, ids, { mark, time })
      else ids.push(part.id)
      if (part !== undefined) first = false
    }
    if (addSpecialTokens) for (const id of this.#behind) ids.push(id)
    return yield* ids.toArray()
  }

  *#encodePart(text: string, first: boolean, ids: Ids, { mark, time }: Limits): Steps<void> {
    const normalized = yield* this.#normalize(text, time)
    let start = first
    for (const part of this.#normalized.split(normalized)) {
      if (part === undefined) yield
      else if (typeof part !== 'string') {
        ids.push(part.id)
        start = false
      } else
        for (const piece of cutAtMarks(part, mark)) {
          yield* this.#encodeWords(piece, start, ids, time)
          start = false
        }
    }
  }

  *#encodeWords(text: string, first: boolean, ids: Ids, time: Time): Steps<void> {
    for (const word of this.#preTokenize(text, first, time))
      if (word === undefined) yield
      else {
        ids.separate()
        yield* this.#pieces.encode(word, ids)
      }
  }

  decodeIds(ids: readonly number[], special: boolean): string {
    const tokens = ids
      .filter((id) => special || !this.#specials.has(id))
      .flatMap((id) => this.#tokens[id] ?? [])
    return tokens.length === 0 ? '' : this.#decode(tokens)
  }

  lettersOf(id: number): string {
    const token = this.#tokens[id]
    if (token === undefined || this.#specials.has(id)) return ''
    if (this.#added.has(id)) return lettersOf(token)
    if (this.#inLetters) return inLetters(token) ? token : ''
    const [, byte] = /^<0x([0-9A-F]{2})>$/.exec(token) ?? []
    if (byte !== undefined) return byteLetters[Number.parseInt(byte, 16)]!
    return lettersOf(token.replaceAll(spaceSymbol, ' '))
  }

  streamBehind(previousId: number | undefined, special: boolean): TextStream {
    return new SuffixStream((ids) => this.decodeIds(ids, special), this.#context(previousId))
  }

  /** Tokens that make the decoder treat the next one as it would behind `previousId`. */
  #context(previousId: number | undefined): number[] {
    if (previousId === undefined || previousId === this.bosId) return []
    if (!this.#specials.has(previousId)) return [previousId]
    // A special token has no text. Behind it is a new text when encoding puts a space there, too.
    const alone = runAtOnce(this.encodeSteps('a', false))
    const behind = runAtOnce(this.encodeSteps(`${this.#tokens[previousId]}a`, false))
    return String(behind.slice(1)) === String(alone) ? [] : alone
  }
}
