import { type AddedToken, AddedTokenSplitter } from './added_tokens.ts'
import { byteLetters, lettersOf } from './bytes.ts'
import { Ids, type PieceModel } from './piece_model.ts'
import { type Decoded, PieceStream } from './piece_stream.ts'
import { pieceType, type SentencePieceModel } from './sentencepiece_model.ts'
import { SentencePieceNormalizer, spaceSymbol } from './sentencepiece_normalizer.ts'
import { pieceModelOf } from './sentencepiece_pieces.ts'
import type { Steps } from './slices.ts'
import { cutAtMarks, type TextStream, type TokenizerCore } from './tokenizer.ts'
import { Trie } from './trie.ts'

export interface SentencePieceOptions {
  added: readonly AddedToken[]
  bosId: number | undefined
  eosId: number | undefined
  addBos: boolean
  addEos: boolean
  /** A text that ends in EOS gets no other. */
  eosOnce: boolean
  /**
   * Transformers' `legacy: true`: each part between added tokens is a text of its own, with the model's dummy
   * space. Otherwise only the very start of a text has one.
   */
  legacy: boolean
  /** The very start has a dummy space; asked only without `legacy`. */
  addPrefixSpace: boolean
}

/** A SentencePiece model and the tokens added to it. */
export class SentencePieceTokenizer implements TokenizerCore {
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly specialIds: ReadonlyMap<string, number>
  readonly #model: SentencePieceModel
  readonly #options: SentencePieceOptions
  readonly #added: ReadonlyMap<number, AddedToken>
  readonly #splitter: AddedTokenSplitter
  readonly #normalizer: SentencePieceNormalizer
  readonly #pieces: PieceModel

  constructor(model: SentencePieceModel, options: SentencePieceOptions) {
    this.#model = model
    this.#options = options
    this.bosId = options.bosId
    this.eosId = options.eosId
    this.specialIds = new Map(
      options.added.filter(({ special }) => special).map(({ content, id }) => [content, id]),
    )
    this.size = options.added.reduce((size, { id }) => Math.max(size, id + 1), model.pieces.length)
    this.#added = new Map(options.added.map((token) => [token.id, token]))
    this.#splitter = new AddedTokenSplitter(options.added)
    const userDefined = [...model.pieces.entries()].filter(
      ([, { type }]) => type === pieceType.userDefined,
    )
    const fixed = new Map(userDefined.map(([id, { text }]) => [text, id]))
    this.#normalizer = new SentencePieceNormalizer(
      model.normalizer,
      fixed.size > 0 ? new Trie(fixed) : undefined,
    )
    this.#pieces = pieceModelOf(model)
  }

  *encodeSteps(text: string, addSpecialTokens: boolean, mark?: string): Steps<number[]> {
    const { addBos, addEos, legacy, addPrefixSpace } = this.#options
    const { byteIds, unknownId: id, normalizer } = this.#model
    const space = normalizer.escapeWhitespaces ? spaceSymbol : undefined
    const ids = new Ids({ byteIds, id, fuse: true, space })
    if (addSpecialTokens && addBos && this.bosId !== undefined) ids.push(this.bosId)
    const whole = legacy ? text : text.replaceAll(spaceSymbol, ' ')
    let start = true
    for (const part of this.#splitter.split(whole)) {
      if (part === undefined) yield
      else if (typeof part === 'string') {
        const prefix = start && !legacy && addPrefixSpace
        yield* this.#encodePart(part, prefix, ids, mark)
        start = false
      } else {
        // The dummy space stands alone before a token, but not before a special one.
        if (start && !legacy && addPrefixSpace && !part.special)
          yield* this.#encodePart('', true, ids)
        ids.push(part.id)
        start = false
      }
    }
    const ended = this.#options.eosOnce && ids.last === this.eosId
    if (addSpecialTokens && addEos && this.eosId !== undefined && !ended) ids.push(this.eosId)
    return yield* ids.toArray()
  }

  *#encodePart(text: string, prefix: boolean, ids: Ids, mark?: string): Steps<void> {
    const spelled = prefix ? spaceSymbol + text : text
    const place = this.#options.legacy ? undefined : { inside: /^[ \u2581]/.test(spelled) }
    const normalized = yield* this.#normalizer.normalize(spelled, place)
    for (const piece of cutAtMarks(normalized, mark)) {
      ids.separate()
      yield* this.#pieces.encode(piece, ids)
    }
  }

  decodeIds(ids: readonly number[], special: boolean): string {
    const stream = this.#stream(special, true)
    return ids.map((id) => stream.push(id)).join('') + stream.end()
  }

  lettersOf(id: number): string {
    if (this.#model.pieces[id]?.type === pieceType.unknown) return ''
    const piece = this.#read(id)
    if (!piece) return ''
    if ('byte' in piece) return byteLetters[piece.byte]!
    if ('added' in piece) return piece.special ? '' : lettersOf(piece.added)
    return lettersOf(piece.text)
  }

  streamBehind(previousId: number | undefined, special: boolean): TextStream {
    return this.#stream(
      special,
      previousId === undefined || previousId === this.bosId || this.#restarts(previousId),
    )
  }

  #restarts(id: number): boolean {
    const piece = this.#model.pieces[id]
    return this.#options.legacy && (this.#added.has(id) || piece?.type === pieceType.control)
  }

  #stream(special: boolean, startsText: boolean): PieceStream {
    const { addDummyPrefix, removeExtraWhitespaces: shrinks } = this.#model.normalizer
    const { legacy, addPrefixSpace } = this.#options
    const prefixes = (legacy ? addDummyPrefix : addPrefixSpace) || shrinks
    return new PieceStream({
      read: (id) => this.#read(id),
      special,
      startsText: startsText && prefixes,
      restarts: (id) => prefixes && this.#restarts(id),
      shrinks,
    })
  }

  #read(id: number): Decoded | undefined {
    const added = this.#added.get(id)
    if (added) return { added: added.content, special: added.special }
    const piece = this.#model.pieces[id]
    if (!piece) return undefined
    const { type, text } = piece
    if (type === pieceType.byte) return { byte: Number.parseInt(text.slice(3, 5), 16) }
    if (type === pieceType.control) return { added: text, special: true }
    if (type === pieceType.unknown) return { text: this.#model.unknownSurface, spaced: false }
    return { text: text.replaceAll(spaceSymbol, ' '), spaced: text.startsWith(spaceSymbol) }
  }
}
