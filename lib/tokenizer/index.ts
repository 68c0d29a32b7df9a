import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { ModelConfig } from '../models/config.ts'
import { type Json, readJson } from '../weights/json.ts'
import { SentencePieceTokenizer } from './sentencepiece.ts'
import { pieceType, readSentencePiece, type SentencePieceModel } from './sentencepiece_model.ts'
import type { Tokenizer } from './tokenizer.ts'

export type { EncodeOptions, TextStream, Tokenizer } from './tokenizer.ts'

/**
 * The strings that Yuan's authors add at run time (`add_tokens` in their README): in no file. Those that are
 * pieces of the model keep their id, the others are numbered behind the last piece, in this order.
 */
const yuanTokens = [
  '<eod>',
  '<sep>',
  '<pad>',
  '<mask>',
  '<predict>',
  '<FIM_SUFFIX>',
  '<FIM_PREFIX>',
  '<FIM_MIDDLE>',
  '<commit_before>',
  '<commit_msg>',
  '<commit_after>',
  '<jupyter_start>',
  '<jupyter_text>',
  '<jupyter_code>',
  '<jupyter_output>',
  '<empty_output>',
]

/** Text of a token that a config names as a string or as { content }. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  const content = (value as Json | undefined | null)?.content
  return typeof content === 'string' ? content : undefined
}

function addedTokens(dir: string, config: Json, model: SentencePieceModel): Map<string, number> {
  const special = new Map<string, number>()
  for (const [id, { text, type }] of model.pieces.entries())
    if (type === pieceType.control) special.set(text, id)
  for (const [id, token] of Object.entries(
    (config.added_tokens_decoder as Json | undefined) ?? {},
  )) {
    const text = tokenText(token)
    if (text !== undefined) special.set(text, Number(id))
  }
  for (const [text, id] of Object.entries(readJson(path.join(dir, 'added_tokens.json')) ?? {}))
    if (typeof id === 'number') special.set(text, id)
  return special
}

function openSentencePiece(
  dir: string,
  file: string,
  config: Json,
  modelConfig: ModelConfig,
): Tokenizer {
  const model = readSentencePiece(file, readFileSync(file))
  const specialIds = addedTokens(dir, config, model)
  const pieceIds = new Map(model.pieces.map(({ text }, id) => [text, id]))
  const idOf = (text: string | undefined) =>
    text === undefined ? undefined : (specialIds.get(text) ?? pieceIds.get(text))

  if (modelConfig.architecture === 'yuan') {
    // The published tokenizer_config.json is wrong for this model: no BOS, no EOS, and <eod> ends a text.
    let next = model.pieces.length
    for (const text of yuanTokens) {
      const id = idOf(text) ?? next++
      if (id < modelConfig.vocabSize) specialIds.set(text, id)
    }
    const eosId = specialIds.get('<eod>')
    return new SentencePieceTokenizer(model, {
      specialIds,
      bosId: undefined,
      eosId,
      addBos: false,
      addEos: false,
    })
  }
  return new SentencePieceTokenizer(model, {
    specialIds,
    bosId: idOf(tokenText(config.bos_token) ?? '<s>'),
    eosId: idOf(tokenText(config.eos_token) ?? '</s>'),
    addBos: config.add_bos_token !== false, // LlamaTokenizer's default
    addEos: config.add_eos_token === true,
  })
}

/**
 * The folder's tokenizer: `tokenizer.model` or else `tokenizer.json`; undefined when it has neither.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for a damaged file, ERR_MOE_UNSUPPORTED for a kind that is not read
 */
export async function openTokenizer(
  dir: string,
  modelConfig: ModelConfig,
): Promise<Tokenizer | undefined> {
  const config = readJson(path.join(dir, 'tokenizer_config.json')) ?? {}
  const file = path.join(dir, 'tokenizer.model')
  if (existsSync(file)) return openSentencePiece(dir, file, config, modelConfig)
  const label = path.join(dir, 'tokenizer.json')
  const json = readJson(label)
  if (!json) return undefined
  // Only now: most folders do not need the library.
  const { HuggingFaceTokenizer } = await import('./hugging_face.ts')
  const names = { bos: tokenText(config.bos_token), eos: tokenText(config.eos_token) }
  return new HuggingFaceTokenizer(label, json, config, names)
}
