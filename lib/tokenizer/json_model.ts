import type { Tokenizer as Pipeline } from '@huggingface/tokenizers'
import { MoeError, shown } from '../errors.ts'
import type { Json } from '../weights/json.ts'
import { Bpe } from './bpe.ts'
import { byteLetters } from './bytes.ts'
import { Cuts } from './cuts.ts'
import { PairTable } from './pair_table.ts'
import type { PieceModel, Unknown } from './piece_model.ts'
import { readId } from './token_files.ts'
import { Unigram } from './unigram.ts'

/** The `model` of a tokenizer.json. */
export interface JsonModel {
  vocab: ReadonlyMap<string, number>
  unknown: Unknown
  /** Undefined: of a kind that is left to the library. */
  pieces: PieceModel | undefined
}

function readVocab(label: string, vocab: unknown): Map<string, number> {
  if (Array.isArray(vocab))
    return new Map(
      (vocab as [string, number][]).map(([text, score], id) => {
        if (typeof text !== 'string' || typeof score !== 'number')
          throw new RangeError(`the piece ${JSON.stringify(text)} with score ${score}`)
        return [text, id]
      }),
    )
  const ids = Object.entries((vocab ?? {}) as Json)
  return new Map(ids.map(([text, id]) => [text, readId(label, `model.vocab[${text}]`, id)]))
}

function bpeOf(model: Json, vocab: ReadonlyMap<string, number>, vanish: boolean): Bpe {
  const pairs = new PairTable()
  const ranks: number[] = []
  const merged: number[] = []
  for (const merge of (model.merges ?? []) as (string | [string, string])[]) {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge
    const [a, b] = [vocab.get(left!), vocab.get(right!)]
    const whole = vocab.get(`${left}${right}`)
    if (a === undefined || b === undefined || whole === undefined)
      throw new RangeError(`the merge ${JSON.stringify(merge)}, which is not in the vocabulary`)
    pairs.set(a, b, ranks.push(ranks.length) - 1)
    merged.push(whole)
  }
  const characters = new Map<number, number>()
  for (const [text, id] of vocab) {
    const code = text.codePointAt(0)
    if (code !== undefined && text.length === (code > 0xffff ? 2 : 1)) characters.set(code, id)
  }
  return new Bpe({
    merges: { pairs, ranks, merged },
    cuts: new Cuts([...vocab.keys()]),
    characters,
    numIds: Number.POSITIVE_INFINITY,
    whole: model.ignore_merges === true ? vocab : undefined,
    vanish,
  })
}

function unigramOf(model: Json, vocab: ReadonlyMap<string, number>): Unigram {
  const scores = (model.vocab as [string, number][]).map(([, score]) => score)
  const pieces = [...vocab].filter(([text]) => text !== '')
  const unknown = pieces.find(([, id]) => id === model.unk_id)
  return new Unigram({
    pieces: new Map(pieces.map(([text, id]) => [id, { text, score: scores[id]! }])),
    unknownScore: scores.reduce((a, b) => Math.min(a, b), Number.MAX_VALUE) - 10,
    cuts: new Cuts([...vocab.keys()]),
    unknown: unknown && { id: unknown[1], text: unknown[0] },
    rounded: false,
  })
}

const byteName = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`

/** What the library reads otherwise than the original, or not at all. */
function checkBpe(label: string, model: Json, { byteIds }: Unknown, vanish: boolean): void {
  const fail = (key: string, expected: string, got: unknown): never => {
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: model.${key} must be ${expected}, got ${shown(got)}`,
    )
  }
  const { continuing_subword_prefix: prefix, end_of_word_suffix: suffix, dropout } = model
  if (prefix) fail('continuing_subword_prefix', 'null', prefix)
  if (dropout) fail('dropout', 'null or 0', dropout)
  if (suffix && vanish) fail('end_of_word_suffix', 'null without unk_token', suffix)
  const missing = Array.from(byteIds ?? []).filter((id) => id < 0).length
  if (missing > 0 && missing < 256)
    fail('vocab', 'with a piece for each byte, or none', `${256 - missing} of them`)
}

export function readJsonModel(label: string, model: Json): JsonModel {
  const vocab = readVocab(label, model.vocab)
  const isUnigram = model.type === 'Unigram' || (!model.type && Array.isArray(model.vocab))
  const unk = isUnigram ? (model.unk_id ?? undefined) : vocab.get(model.unk_token as string)
  if (isUnigram && unk !== undefined && readId(label, 'model.unk_id', unk) >= vocab.size)
    throw new RangeError(`unk_id ${unk} of ${vocab.size} pieces`)
  const unknown: Unknown = {
    byteIds:
      model.byte_fallback === true
        ? Array.from({ length: 256 }, (_, byte) => vocab.get(byteName(byte)) ?? -1)
        : undefined,
    id: typeof unk === 'number' ? unk : undefined,
    fuse: isUnigram || model.fuse_unk === true,
  }
  const isBpe = model.type === 'BPE' || (!model.type && 'merges' in model)
  // Byte-level models know every character.
  const vanish =
    unknown.id === undefined &&
    !unknown.byteIds &&
    !byteLetters.every((letter) => vocab.has(letter))
  if (isBpe) checkBpe(label, model, unknown, vanish)
  let pieces: PieceModel | undefined
  if (isUnigram) pieces = unigramOf(model, vocab)
  else if (isBpe && !model.end_of_word_suffix) pieces = bpeOf(model, vocab, vanish)
  return { vocab, unknown, pieces }
}

/** A model that the library runs, a text at once; WordLevel's gives words that it does not know as they are. */
export function libraryModel(
  pipeline: Pipeline,
  idOf: (token: string) => number | undefined,
  unknownId: number | undefined,
): PieceModel {
  return {
    *encode(text, out) {
      for (const token of pipeline.model!._call([text])) {
        const id = idOf(token) ?? unknownId
        if (id !== undefined) out.push(id)
      }
      yield
    },
  }
}
