import { MoeError } from '../errors.ts'
import { Charsmap } from './charsmap.ts'
import { bytesOf, numberOf, ProtobufReader } from './protobuf.ts'
import type { NormalizerSpec } from './sentencepiece_normalizer.ts'

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
  algorithm: 'unigram' | 'bpe'
  normalizer: NormalizerSpec
  unknownId: number
  /** What an unknown piece is decoded to. */
  unknownSurface: string
  /** Ids of the 256 bytes; undefined without byte fallback. */
  byteIds: Int32Array | undefined
}

// U+FEFF is a piece, not a mark.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

function readPiece(bytes: Uint8Array): Piece {
  const piece: Piece = { text: '', score: 0, type: pieceType.normal }
  new ProtobufReader(bytes).fields((field, value) => {
    if (field === 1) piece.text = utf8.decode(bytesOf(value))
    if (field === 2) piece.score = numberOf(value)
    if (field === 3) piece.type = numberOf(value)
  })
  if (piece.text === '') throw new RangeError('an empty piece')
  if (!Number.isFinite(piece.score)) throw new RangeError(`the score ${piece.score}`)
  return piece
}

/** As SentencePiece does: a normal piece may only be spelled like one that is not. */
function checkTwice(pieces: readonly Piece[]): void {
  const reserved: number[] = [pieceType.unknown, pieceType.control, pieceType.byte]
  const seen = [new Set<string>(), new Set<string>()]
  for (const { text, type } of pieces) {
    const same = seen[reserved.includes(type) ? 1 : 0]!
    if (same.has(text)) throw new RangeError(`the piece ${JSON.stringify(text)} twice`)
    same.add(text)
  }
}

/** The fields as they are; defaults are those of the proto file. */
function readFields(bytes: Uint8Array) {
  const model = {
    pieces: [] as Piece[],
    algorithm: 1,
    byteFallback: false,
    unknownSurface: ' \u2047 ',
    normalizer: {
      charsmap: undefined,
      addDummyPrefix: true,
      removeExtraWhitespaces: true,
      escapeWhitespaces: true,
      treatWhitespaceAsSuffix: false,
    } as NormalizerSpec,
    denormalizes: false,
  }
  const { normalizer } = model
  new ProtobufReader(bytes).fields((field, value) => {
    if (field === 1) model.pieces.push(readPiece(bytesOf(value)))
    if (field === 2)
      new ProtobufReader(bytesOf(value)).fields((f, v) => {
        if (f === 3) model.algorithm = numberOf(v)
        if (f === 24) normalizer.treatWhitespaceAsSuffix = v === 1
        if (f === 35) model.byteFallback = v === 1
        if (f === 44) model.unknownSurface = utf8.decode(bytesOf(v))
      })
    if (field === 3)
      new ProtobufReader(bytesOf(value)).fields((f, v) => {
        if (f === 2 && bytesOf(v).length > 0) normalizer.charsmap = new Charsmap(bytesOf(v))
        if (f === 3) normalizer.addDummyPrefix = v === 1
        if (f === 4) normalizer.removeExtraWhitespaces = v === 1
        if (f === 5) normalizer.escapeWhitespaces = v === 1
      })
    if (field === 5)
      new ProtobufReader(bytesOf(value)).fields((f, v) => {
        if (f === 2) model.denormalizes = bytesOf(v).length > 0
      })
  })
  return model
}

function byteIdsOf(pieces: readonly Piece[]): Int32Array {
  const ids = new Int32Array(256).fill(-1)
  for (const [id, { text, type }] of pieces.entries()) {
    if (type !== pieceType.byte) continue
    const byte = /^<0x([0-9A-F]{2})>$/.exec(text)
    if (!byte) throw new RangeError(`the byte piece ${JSON.stringify(text)}`)
    ids[Number.parseInt(byte[1]!, 16)] = id
  }
  if (ids.includes(-1)) throw new RangeError('byte_fallback without 256 byte pieces')
  return ids
}

/**
 * Reads a SentencePiece model (sentencepiece_model.proto), unigram or BPE.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT when it is damaged, ERR_MOE_UNSUPPORTED for other kinds
 */
export function readSentencePiece(label: string, bytes: Uint8Array): SentencePieceModel {
  let fields: ReturnType<typeof readFields>
  let unknownId: number
  let byteIds: Int32Array | undefined
  try {
    fields = readFields(bytes)
    if (fields.pieces.length === 0) throw new RangeError('no pieces')
    checkTwice(fields.pieces)
    unknownId = fields.pieces.findIndex(({ type }) => type === pieceType.unknown)
    byteIds = fields.byteFallback ? byteIdsOf(fields.pieces) : undefined
  } catch (cause) {
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${label}: file must be a SentencePiece model, got ${cause}`,
      { cause },
    )
  }
  const unsupported = (what: string, expected: string, actual: unknown): never => {
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: ${what} must be ${expected}, got ${actual}`,
    )
  }
  if (fields.algorithm !== 1 && fields.algorithm !== 2)
    unsupported('model_type', 'unigram (1) or BPE (2)', fields.algorithm)
  if (fields.denormalizes) unsupported('denormalizer_spec', 'empty', 'a character map')
  if (unknownId < 0)
    throw new MoeError('ERR_MOE_CHECKPOINT', `${label}: pieces must have an unknown one, got none`)
  const { pieces, normalizer, unknownSurface } = fields
  const algorithm = fields.algorithm === 1 ? 'unigram' : 'bpe'
  return { pieces, algorithm, normalizer, unknownId, unknownSurface, byteIds }
}
