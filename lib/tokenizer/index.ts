import path from 'node:path'
import { type CodeTokens, codeTokens } from '../models/yuan_tokens.ts'
import { readBytes, readJson } from '../weights/json.ts'
import type { AddedToken } from './added_tokens.ts'
import { type SentencePieceOptions, SentencePieceTokenizer } from './sentencepiece.ts'
import { pieceType, readSentencePiece, type SentencePieceModel } from './sentencepiece_model.ts'
import { readAdded, readTokenFiles, type TokenFiles } from './token_files.ts'
import { CheckedTokenizer, type Tokenizer, type TokenizerCore } from './tokenizer.ts'

export type {
  DecodeOptions,
  EncodeAsyncOptions,
  EncodeOptions,
  TextStream,
  Tokenizer,
} from './tokenizer.ts'

/** What is asked of a model whose tokens they are. */
export interface TokenizedModel {
  architecture: string
  vocabSize: number
}

const plainToken = (id: number, content: string): AddedToken => ({
  ...{ id, content, special: true, normalized: false },
  ...{ lstrip: false, rstrip: false, singleWord: false },
})

/** Added tokens by their text: what the files list, the model's control pieces, and pieces with a role. */
function addedTokens(files: TokenFiles, model: SentencePieceModel): Map<string, AddedToken> {
  const added = new Map(files.added.map((token) => [token.content, token]))
  for (const [id, { text, type }] of model.pieces.entries()) {
    if (added.has(text)) continue
    const named = files.named.find(({ content }) => content === text)
    if (named) added.set(text, { ...named, id })
    else if (type === pieceType.control) added.set(text, plainToken(id, text))
  }
  return added
}

const isT5Model = ({ architecture }: TokenizedModel): boolean =>
  architecture === 'T5' || architecture === 'Switch Transformers'

/** T5's sentinels are in no file of old checkpoints: numbered backwards from the end. */
function addSentinels(added: Map<string, AddedToken>, numPieces: number, count: number): void {
  for (let i = 0; i < count; i++) {
    const content = `<extra_id_${i}>`
    const token = plainToken(numPieces + count - 1 - i, content)
    if (!added.has(content)) added.set(content, { ...token, lstrip: true, rstrip: true })
  }
}

function addCodeTokens(
  added: Map<string, AddedToken>,
  model: SentencePieceModel,
  { texts }: CodeTokens,
  vocabSize: number,
): void {
  let next = model.pieces.length
  for (const text of texts) {
    const piece = model.pieces.findIndex((one) => one.text === text)
    const id = added.get(text)?.id ?? (piece >= 0 ? piece : next++)
    if (id < vocabSize) added.set(text, plainToken(id, text))
  }
}

function openSentencePiece(
  file: string,
  bytes: Uint8Array,
  files: TokenFiles,
  modelConfig: TokenizedModel,
): SentencePieceTokenizer {
  const { config } = files
  const model = readSentencePiece(file, bytes)
  const added = addedTokens(files, model)
  const fromCode = codeTokens(modelConfig)
  // What T5Tokenizer and LlamaTokenizer do unless they are told; early T5 folders name no class.
  const named = config.tokenizer_class ?? undefined
  const isT5 = named === undefined ? isT5Model(modelConfig) : /^T5Tokenizer/.test(String(named))
  const sentinels = config.extra_ids ?? 100
  if (isT5 && Number.isInteger(sentinels) && (sentinels as number) <= 1000)
    addSentinels(added, model.pieces.length, sentinels as number)
  if (fromCode) addCodeTokens(added, model, fromCode, modelConfig.vocabSize)
  const idOf = (text: string): number | undefined => {
    const piece = model.pieces.findIndex((one) => one.text === text)
    return added.get(text)?.id ?? (piece >= 0 ? piece : undefined)
  }
  const options: SentencePieceOptions = {
    added: [...added.values()],
    bosId: isT5 ? undefined : idOf(files.bos ?? '<s>'),
    eosId: idOf(files.eos ?? '</s>'),
    addBos: config.add_bos_token !== false,
    addEos: isT5 ? config.add_eos_token !== false : config.add_eos_token === true,
    eosOnce: isT5,
    legacy: config.legacy !== false,
    addPrefixSpace: config.add_prefix_space !== false,
  }
  // The published tokenizer_config.json is wrong for a model whose code adds tokens: neither BOS nor EOS.
  if (fromCode)
    Object.assign(options, {
      ...{ bosId: undefined, addBos: false },
      ...{ eosId: idOf(fromCode.eos), addEos: false },
    })
  return new SentencePieceTokenizer(model, options)
}

/** The folder's tokenizer with unchecked arguments. */
export async function openCore(
  dir: string,
  modelConfig: TokenizedModel,
): Promise<TokenizerCore | undefined> {
  const files = readTokenFiles(dir)
  const label = path.join(dir, 'tokenizer.json')
  for (const name of ['tokenizer.model', 'spiece.model']) {
    const file = path.join(dir, name)
    const bytes = readBytes(file)
    if (!bytes) continue
    // Folders of early fast tokenizers list their tokens nowhere else; the file is large, so others are not asked.
    const added = files.added.length > 0 ? files.added : readAdded(label, readJson(label) ?? {})
    return openSentencePiece(file, bytes, { ...files, added }, modelConfig)
  }
  const json = readJson(label)
  if (!json) return undefined
  // Only now: most folders do not need the library.
  const { HuggingFaceTokenizer } = await import('./hugging_face.ts')
  return new HuggingFaceTokenizer(label, json, files)
}

/**
 * The folder's tokenizer: `tokenizer.model`, `spiece.model` (T5's name for it) or else `tokenizer.json`;
 * undefined when it has none.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT for a damaged file, ERR_MOE_UNSUPPORTED for a kind that is not read
 */
export async function openTokenizer(
  dir: string,
  modelConfig: TokenizedModel,
): Promise<Tokenizer | undefined> {
  const core = await openCore(dir, modelConfig)
  return core && new CheckedTokenizer(core)
}
