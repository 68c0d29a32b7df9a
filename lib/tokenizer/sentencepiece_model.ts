import { MoeError } from '../errors.ts'

/** Piece types of sentencepiece_model.proto. */
export const pieceType = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const

export interface Piece {
  text: string
  score: number
  type: number
}

export interface SentencePieceModel {
  pieces: Piece[]
  byteFallback: boolean
  unknownId: number
  addDummyPrefix: boolean
  removeExtraWhitespaces: boolean
}

/** Protobuf wire format, as much of it as the model file needs. */
class Reader {
  at = 0
  readonly #bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#bytes[this.at++]
      if (byte === undefined || scale > 2 ** 63) throw new RangeError('a truncated number')
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }

  bytes(): Uint8Array {
    const length = this.varint()
    const end = this.at + length
    if (end > this.#bytes.length) throw new RangeError('a truncated field')
    const slice = this.#bytes.subarray(this.at, end)
    this.at = end
    return slice
  }

  /** Calls `onField` for each field with its value: a number, or the bytes of a length-delimited one. */
  fields(onField: (field: number, value: number | Uint8Array) => void): void {
    while (this.at < this.#bytes.length) {
      const key = this.varint()
      const field = Math.floor(key / 8)
      const wire = key % 8
      if (wire === 0) onField(field, this.varint())
      else if (wire === 2) onField(field, this.bytes())
      else if (wire === 5 && this.at + 4 <= this.#bytes.length) {
        onField(field, this.#view.getFloat32(this.at, true))
        this.at += 4
      } else if (wire === 1) this.at += 8
      else throw new RangeError(`wire type ${wire}`)
    }
  }
}

const text = new TextDecoder()

function readPiece(bytes: Uint8Array): Piece {
  const piece: Piece = { text: '', score: 0, type: pieceType.normal }
  new Reader(bytes).fields((field, value) => {
    if (field === 1) piece.text = text.decode(value as Uint8Array)
    if (field === 2) piece.score = value as number
    if (field === 3) piece.type = value as number
  })
  return piece
}

/**
 * Reads a `tokenizer.model` file (sentencepiece_model.proto).
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT when it is damaged, ERR_MOE_UNSUPPORTED for other models than BPE and
 *   other normalisers than identity
 */
export function readSentencePiece(label: string, bytes: Uint8Array): SentencePieceModel {
  const model: SentencePieceModel = {
    pieces: [],
    byteFallback: false,
    unknownId: 0,
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
  }
  let algorithm = 1
  let charsmap = 0
  try {
    new Reader(bytes).fields((field, value) => {
      if (!(value instanceof Uint8Array)) return
      if (field === 1) model.pieces.push(readPiece(value))
      else if (field === 2)
        new Reader(value).fields((f, v) => {
          if (f === 3) algorithm = v as number
          if (f === 35) model.byteFallback = v === 1
          if (f === 40) model.unknownId = v as number
        })
      else if (field === 3)
        new Reader(value).fields((f, v) => {
          if (f === 2) charsmap = (v as Uint8Array).length
          if (f === 3) model.addDummyPrefix = v === 1
          if (f === 4) model.removeExtraWhitespaces = v === 1
        })
    })
  } catch (cause) {
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: file must be a SentencePiece model, got ${cause}`,
      { cause },
    )
  }
  if (model.pieces.length === 0)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: file must be a SentencePiece model, got no pieces`,
    )
  if (algorithm !== 2)
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: model type must be BPE (2), got ${algorithm}`,
    )
  if (charsmap > 0)
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: normalizer must be identity, got a character map`,
    )
  return model
}
