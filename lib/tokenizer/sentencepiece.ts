import { mergePairs } from './bpe.ts'
import { pieceType, type SentencePieceModel } from './sentencepiece_model.ts'
import type { EncodeOptions, TextStream, Tokenizer } from './tokenizer.ts'

const space = '\u2581'

export interface SentencePieceOptions {
  /** Strings that become one id wherever they stand, beyond the model's own pieces. */
  specialIds: ReadonlyMap<string, number>
  bosId: number | undefined
  eosId: number | undefined
  addBos: boolean
  addEos: boolean
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** SentencePiece BPE with byte fallback. Special tokens are cut out of the text first. */
export class SentencePieceTokenizer implements Tokenizer {
  readonly size: number
  readonly bosId: number | undefined
  readonly eosId: number | undefined
  readonly specialIds: ReadonlyMap<string, number>
  readonly #model: SentencePieceModel
  readonly #options: SentencePieceOptions
  readonly #ids = new Map<string, number>()
  readonly #byteIds = new Int32Array(256).fill(-1)
  readonly #special: Map<number, string>
  readonly #cut: RegExp | undefined

  constructor(model: SentencePieceModel, options: SentencePieceOptions) {
    this.#model = model
    this.#options = options
    this.bosId = options.bosId
    this.eosId = options.eosId
    this.specialIds = options.specialIds
    this.size = Math.max(
      model.pieces.length,
      ...[...options.specialIds.values()].map((id) => id + 1),
    )
    this.#special = new Map([...options.specialIds].map(([text, id]) => [id, text]))
    const cut: string[] = [...options.specialIds.keys()]
    for (const [id, { text, type }] of model.pieces.entries()) {
      if (type === pieceType.byte) this.#byteIds[Number.parseInt(text.slice(3, 5), 16)] = id
      if (type === pieceType.normal || type === pieceType.userDefined) this.#ids.set(text, id)
      if (type === pieceType.userDefined) cut.push(text)
    }
    cut.sort((a, b) => b.length - a.length) // the longest match wins
    if (cut.length > 0) this.#cut = new RegExp(`(${cut.map(escaped).join('|')})`)
  }

  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const { addBos, addEos } = this.#options
    const ids: number[] = []
    if (addSpecialTokens && addBos && this.bosId !== undefined) ids.push(this.bosId)
    for (const part of this.#cut ? text.split(this.#cut) : [text]) {
      const special = this.specialIds.get(part)
      if (special !== undefined) ids.push(special)
      else if (part !== '') for (const id of this.#encodePart(part)) ids.push(id)
    }
    if (addSpecialTokens && addEos && this.eosId !== undefined) ids.push(this.eosId)
    return ids
  }

  #encodePart(part: string): number[] {
    const { pieces, addDummyPrefix, removeExtraWhitespaces, byteFallback, unknownId } = this.#model
    const known = this.#ids.get(part)
    if (known !== undefined && pieces[known]!.type === pieceType.userDefined) return [known]
    let text = removeExtraWhitespaces ? part.replace(/ +/g, ' ').replace(/^ | $/g, '') : part
    if (text === '') return []
    if (addDummyPrefix) text = ` ${text}`
    const scoreOf = (piece: string) => {
      const id = this.#ids.get(piece)
      return id === undefined ? undefined : pieces[id]!.score
    }
    return mergePairs([...text.replaceAll(' ', space)], scoreOf).flatMap((symbol) => {
      const id = this.#ids.get(symbol)
      if (id !== undefined) return [id]
      if (!byteFallback) return [unknownId]
      const bytes = Array.from(new TextEncoder().encode(symbol), (byte) => this.#byteIds[byte]!)
      return bytes.includes(-1) ? [unknownId] : bytes
    })
  }

  decode(ids: ArrayLike<number>, { special = false }: { special?: boolean } = {}): string {
    const stream = this.#stream(special, true)
    return Array.from(ids, (id) => stream.push(id)).join('') + stream.end()
  }

  stream(previousId?: number): TextStream {
    return this.#stream(false, previousId === undefined || this.#special.has(previousId))
  }

  #stream(special: boolean, startsText: boolean): PieceStream {
    return new PieceStream((id) => this.#read(id), this.#model.addDummyPrefix, special, startsText)
  }

  #read(id: number): Decoded {
    const name = this.#special.get(id)
    if (name !== undefined) return { special: name }
    const piece = this.#model.pieces[id]
    if (!piece) return { special: '' }
    if (piece.type === pieceType.byte) return { byte: Number.parseInt(piece.text.slice(3, 5), 16) }
    if (piece.type === pieceType.control) return { special: piece.text }
    if (piece.type === pieceType.unknown) return { text: ' \u2047 ' }
    return { text: piece.text.replaceAll(space, ' ') }
  }
}

type Decoded = { text: string } | { byte: number } | { special: string }

class PieceStream implements TextStream {
  readonly #read: (id: number) => Decoded
  readonly #dummyPrefix: boolean
  readonly #special: boolean
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  #startsText: boolean

  /** @param startsText encoding put a space before the next piece: at the start and behind special tokens */
  constructor(
    read: (id: number) => Decoded,
    dummyPrefix: boolean,
    special: boolean,
    startsText: boolean,
  ) {
    this.#read = read
    this.#dummyPrefix = dummyPrefix
    this.#special = special
    this.#startsText = startsText
  }

  push(id: number): string {
    const piece = this.#read(id)
    if ('byte' in piece) {
      this.#startsText = false
      return this.#decoder.decode(Uint8Array.of(piece.byte), { stream: true })
    }
    const unfinished = this.end()
    if ('special' in piece) {
      this.#startsText = true
      return unfinished + (this.#special ? piece.special : '')
    }
    const drop = this.#startsText && this.#dummyPrefix && piece.text.startsWith(' ')
    this.#startsText = false
    return unfinished + (drop ? piece.text.slice(1) : piece.text)
  }

  end(): string {
    return this.#decoder.decode()
  }
}
