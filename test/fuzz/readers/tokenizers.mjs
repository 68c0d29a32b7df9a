// Tokenizers: what loads encodes and decodes.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { openTokenizer } from '../../../build/modules/tokenizer/index.js'
import { jsonText, mutateJson, mutateMessage } from '../mutate.mjs'
import { json, madeFolder, read } from './inputs.mjs'

const texts = [
  ...[
    '',
    ' ',
    'Hello world',
    '  two  spaces ',
    'é\u0301 ﬁ ① \u00a0',
    '\ufeff\0\n\t',
    '𝄞日本語<s></s><unk>',
  ],
  ...[
    '<0x41>▁▁',
    'a'.repeat(300),
    '\ud800 lone',
    "I'm 1234567 don't",
    '<extra_id_0> <|endoftext|>',
  ],
]
const modelConfig = { architecture: 'mixtral', vocabSize: 512 }

async function checkTokenizer(dir, random) {
  const tokenizer = await openTokenizer(dir, modelConfig)
  if (!tokenizer) return
  assert(Number.isSafeInteger(tokenizer.size) && tokenizer.size >= 0, 'a size')
  for (const id of [tokenizer.bosId, tokenizer.eosId, ...tokenizer.specialIds.values()])
    assert(id === undefined || (Number.isInteger(id) && id >= 0 && id < tokenizer.size), `id ${id}`)
  for (const text of [random.of(texts), random.of(texts)]) {
    const ids = tokenizer.encode(text)
    const bad = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < tokenizer.size))
    assert(bad === undefined, `ids below ${tokenizer.size}, got ${bad}`)
    assert.equal(typeof tokenizer.decode(ids, { special: true }), 'string')
    const stream = tokenizer.stream()
    for (const id of [...ids, 0, tokenizer.size, 2 ** 31]) stream.push(id)
    stream.end()
  }
}

const models = ['unigram', 'unigram-bytes', 'bpe-plain'].map((name) =>
  read(`fixtures/tokenizer/${name}.model`),
)
const tokenizerConfig = json('../demo/moepp-tiny/tokenizer_config.json')
// Which fields of sentencepiece_model.proto hold messages: pieces, trainer, normalizer, self test, denormalizer.
const messages = { 1: {}, 2: {}, 3: {}, 4: { 1: {} }, 5: {} }
const tokenWords = `<s> </s> <unk> <extra_id_3> bos_token content special lstrip id`.split(/\s+/)

export function sentencepiece(random) {
  const bytes = mutateMessage(random, random.of(models), messages)
  const config = random.rarely(4)
    ? jsonText(random, mutateJson(random, tokenizerConfig, tokenWords))
    : Buffer.from('{}')
  const run = async () => {
    const dir = madeFolder('sentencepiece')
    writeFileSync(path.join(dir, 'tokenizer.model'), bytes)
    writeFileSync(path.join(dir, 'tokenizer_config.json'), config)
    await checkTokenizer(dir, random)
  }
  return { bytes, config, run }
}

const tokenizerJsons = ['gpt2', 't5', 'llama3', 'splits'].map((name) =>
  json(`fixtures/tokenizer/${name}.json`),
)
const kinds = `type BPE Unigram WordLevel WordPiece ByteLevel Sequence Split Replace Metaspace
  pattern String Regex NFC NFKD Strip Prepend Lowercase TemplateProcessing vocab merges byte_fallback
  unk_token ByteFallback Fuse Precompiled Digits Punctuation \\s+`.split(/\s+/)

export function tokenizerJson(random) {
  const bytes = jsonText(random, mutateJson(random, random.of(tokenizerJsons), kinds))
  const run = async () => {
    const dir = madeFolder('tokenizer')
    writeFileSync(path.join(dir, 'tokenizer.json'), bytes)
    await checkTokenizer(dir, random)
  }
  return { bytes, run }
}
