import { Bpe } from './bpe.ts'
import { Cuts } from './cuts.ts'
import type { Merges } from './merging.ts'
import { PairTable } from './pair_table.ts'
import type { PieceModel } from './piece_model.ts'
import { pieceType, type SentencePieceModel } from './sentencepiece_model.ts'
import { spaceSymbol } from './sentencepiece_normalizer.ts'
import { Trie } from './trie.ts'
import { Unigram } from './unigram.ts'

/**
 * The part of a SentencePiece model that cuts normalised text into pieces. Where the model spells spaces as
 * U+2581 its pieces are turned back, which leaves the text as it is.
 */
export function pieceModelOf(model: SentencePieceModel): PieceModel {
  const escapes = model.normalizer.escapeWhitespaces
  const texts = new Map<string, number>()
  const fixed = new Map<string, number>()
  for (const [id, { text, type }] of model.pieces.entries()) {
    const unused = type === pieceType.unused && model.algorithm === 'bpe'
    if (type !== pieceType.normal && type !== pieceType.userDefined && !unused) continue
    if (escapes && text.includes(' ')) continue // such a piece is in no escaped text
    const spelled = escapes ? text.replaceAll(spaceSymbol, ' ') : text
    texts.set(spelled, id)
    if (type === pieceType.userDefined) fixed.set(spelled, id)
  }
  const cuts = new Cuts([...texts.keys()])
  return model.algorithm === 'bpe'
    ? bpeOf(model, texts, { cuts, fixed: fixed.size > 0 ? new Trie(fixed) : undefined })
    : unigramOf(model, texts, cuts)
}

function unigramOf(
  { pieces }: SentencePieceModel,
  texts: ReadonlyMap<string, number>,
  cuts: Cuts,
): Unigram {
  const scores = pieces.filter(({ type }) => type === pieceType.normal).map(({ score }) => score)
  const lowest = scores.reduce((a, b) => Math.min(a, b), 3.4028234663852886e38)
  const scored = new Map<number, { text: string; score: number }>()
  for (const [text, id] of texts) {
    const { type, score: own } = pieces[id]!
    // As of SentencePiece 0.2.2; before, the bonus was -0.1 for any length.
    const bonus = Math.fround(0.1) * (Buffer.byteLength(pieces[id]!.text) - 1)
    const score = type === pieceType.userDefined ? Math.fround(bonus) : own
    scored.set(id, { text, score })
  }
  const unknownScore = Math.fround(lowest - 10)
  return new Unigram({ pieces: scored, unknownScore, cuts, rounded: true })
}

/**
 * SentencePiece merges any two neighbours whose union is a piece, the best score first. Here every way to make
 * each piece of two symbols is listed once, so that merging works on numbers.
 */
function bpeOf(
  { pieces }: SentencePieceModel,
  texts: ReadonlyMap<string, number>,
  options: { cuts: Cuts; fixed: Trie | undefined },
): Bpe {
  const numIds = pieces.length
  const characters = new Map<number, number>()
  let numSymbols = numIds
  for (const text of texts.keys())
    for (const character of text) {
      const code = character.codePointAt(0)!
      if (!characters.has(code)) characters.set(code, texts.get(character) ?? numSymbols++)
    }
  const symbolOf = (text: string): number => {
    const code = text.codePointAt(0)!
    return text.length === (code > 0xffff ? 2 : 1)
      ? (characters.get(code) ?? -1)
      : (texts.get(text) ?? -1)
  }
  const byScore = [...texts].sort(([, a], [, b]) => pieces[b]!.score - pieces[a]!.score)
  const pairs = new PairTable()
  const ranks: number[] = []
  const merged: number[] = []
  let rank = -1
  let score: number | undefined
  for (const [text, id] of byScore) {
    if (pieces[id]!.score !== score) rank++
    score = pieces[id]!.score
    for (let cut = 1; cut < text.length; cut++) {
      const left = symbolOf(text.slice(0, cut))
      const right = left < 0 ? -1 : symbolOf(text.slice(cut))
      if (right < 0) continue
      pairs.set(left, right, ranks.push(rank) - 1)
      merged.push(id)
    }
  }
  const unused = new Set([...texts.values()].filter((id) => pieces[id]!.type === pieceType.unused))
  const merges: Merges = {
    pairs,
    ranks: Int32Array.from(ranks),
    merged: Int32Array.from(merged),
    temporary: unused.size > 0 ? unused : undefined,
  }
  return new Bpe({ ...options, merges, characters, numIds })
}
