import { checkId, type TextStream } from './tokenizer.ts'

/** What an id stands for. */
export type Decoded =
  /** `spaced`: it starts with a space that encoding may have put there. */
  | { text: string; spaced: boolean }
  | { byte: number }
  /** Special: left out unless asked for. */
  | { added: string; special: boolean }

export interface PieceStreamOptions {
  read(id: number): Decoded | undefined
  /** Give the text of special tokens, too. */
  special: boolean
  /** Encoding put a space before the first piece. */
  startsText: boolean
  /** Encoding puts a space before the piece behind this added token. */
  restarts(id: number): boolean
  /** Encoding takes all spaces at the start away: as many as come are not there. */
  shrinks: boolean
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true })
const replacement = '\ufffd'

/** Bytes of a character by its first one; 0: no character starts so. */
const widthOf = (byte: number): number =>
  byte < 0x80
    ? 1
    : byte >= 0xc2 && byte < 0xe0
      ? 2
      : byte >= 0xe0 && byte < 0xf0
        ? 3
        : byte >= 0xf0 && byte < 0xf5
          ? 4
          : 0

/** Decodes pieces as SentencePiece does; each byte that is in no character is U+FFFD. */
export class PieceStream implements TextStream {
  readonly #options: PieceStreamOptions
  #bytes: number[] = []
  #startsText: boolean

  constructor(options: PieceStreamOptions) {
    this.#options = options
    this.#startsText = options.startsText
  }

  push(id: number): string {
    checkId('push', id)
    const piece = this.#options.read(id)
    if (!piece) return ''
    if ('byte' in piece) {
      this.#startsText = false
      this.#bytes.push(piece.byte)
      return this.#takeBytes(false)
    }
    const unfinished = this.end()
    if ('added' in piece) {
      const shown = !piece.special || this.#options.special
      if (this.#options.restarts(id)) this.#startsText = true
      else if (shown) this.#startsText = false
      return unfinished + (shown ? piece.added : '')
    }
    let { text } = piece
    if (this.#startsText && piece.spaced) {
      text = text.slice(1)
      this.#startsText = this.#options.shrinks && text === ''
    } else if (text !== '') this.#startsText = false
    return unfinished + text
  }

  end(): string {
    return this.#takeBytes(true)
  }

  #takeBytes(all: boolean): string {
    let text = ''
    while (this.#bytes.length > 0) {
      const width = widthOf(this.#bytes[0]!)
      if (width > this.#bytes.length && !all) break
      const character = this.#bytes.slice(0, Math.max(1, width))
      try {
        text += utf8.decode(Uint8Array.from(character))
        this.#bytes = this.#bytes.slice(character.length)
      } catch {
        text += replacement
        this.#bytes = this.#bytes.slice(1)
      }
    }
    return text
  }
}
