// Fuzz targets of the JavaScript readers: each makes an input from a Random and gives it to the reader. A MoeError is an
// answer. Any other error is a finding, and so is a result that breaks what the reader promises.
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { convertCheckpoint } from '../../dist/convert/convert.js'
import { readStateDict } from '../../dist/convert/pickle.js'
import { describeModel } from '../../dist/models/index.js'
import { openTokenizer } from '../../dist/tokenizer/index.js'
import { openCheckpoint } from '../../dist/weights/checkpoint.js'
import { openSafetensors } from '../../dist/weights/safetensors.js'
import { jsonText, mutateBytes, mutateJson, mutateMessage } from './mutate.mjs'

const root = path.resolve(import.meta.dirname, '../..')
const read = (file) => readFileSync(path.join(root, 'test', file))
const json = (file) => JSON.parse(read(file).toString())

// In memory where that is: each input is a file.
const folder = mkdtempSync(
  path.join(existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir(), 'moe-fuzz-'),
)
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const inFolder = (...names) => path.join(folder, ...names)

/** A safetensors file of these header bytes. */
function stored(header, data, length = BigInt(header.length)) {
  const start = Buffer.alloc(8)
  start.writeBigUInt64LE(BigInt.asUintN(64, length))
  return Buffer.concat([start, header, data])
}

const data = Buffer.alloc(128, 7)
const header = {
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 4], data_offsets: [0, 32] },
  'b.weight': { dtype: 'BF16', shape: [3, 2, 4], data_offsets: [32, 80] },
  c: { dtype: 'I64', shape: [], data_offsets: [80, 88] },
  d: { dtype: 'U8', shape: [0, 5], data_offsets: [88, 88] },
  e: { dtype: 'F16', shape: [20], data_offsets: [88, 128] },
}
const words = `dtype shape data_offsets F32 F64 BF16 BOOL I32 __metadata__`.split(/\s+/)

/** Entries lie in their file, and their bytes can be read. */
function checkEntries(entries) {
  for (const entry of entries.values()) {
    assert(
      entry.offset >= 8 && entry.offset + entry.bytes <= entry.file.bytes,
      'an entry in its file',
    )
    const count = entry.shape.reduce((n, dim) => n * dim, 1)
    assert(Number.isSafeInteger(count) && count <= entry.bytes, 'a shape of its bytes')
    if (entry.bytes > 0) entry.file.read(entry.offset + entry.bytes - 1, 1)
  }
}

function safetensors(random) {
  const whole = () => {
    const text = jsonText(random, mutateJson(random, header, words))
    const length =
      BigInt(text.length) + BigInt(random.rarely(16) ? random.of([-9, -1, 1, 2 ** 40]) : 0)
    return stored(text, random.rarely(8) ? data.subarray(random.below(128)) : data, length)
  }
  const bytes = random.rarely(4)
    ? mutateBytes(random, stored(Buffer.from(JSON.stringify(header)), data))
    : whole()
  return { bytes, run: () => checkEntries(openFile(bytes)) }
}

function openFile(bytes) {
  const file = inFolder('one.safetensors')
  rmSync(file, { force: true }) // the old one may still be mapped
  writeFileSync(file, bytes)
  return openSafetensors([file])
}

const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
const sharded = inFolder('sharded')
mkdirSync(sharded)
mkdirSync(path.join(sharded, 'sub'))
writeFileSync(path.join(sharded, 'config.json'), '{}')
const oneTensor = (name) => {
  const entry = { [name]: { dtype: 'F32', shape: [2], data_offsets: [0, 8] } }
  return stored(Buffer.from(JSON.stringify(entry)), data.subarray(0, 8))
}
for (const [i, shard] of shards.entries())
  writeFileSync(path.join(sharded, shard), oneTensor(['a', 'b'][i]))
for (const outside of ['secret.safetensors', 'sharded/sub/secret.safetensors'])
  writeFileSync(inFolder(outside), oneTensor('secret'))
const places = [
  ...`../secret.safetensors sub/secret.safetensors ./secret.safetensors sub .. . / secret
  ..\\secret.safetensors config.json file:///secret.safetensors %2e%2e/secret.safetensors`.split(
    /\s+/,
  ),
  ...[inFolder('secret.safetensors'), 'secret.safetensors\0', ...shards],
]

function index(random) {
  const seed = { metadata: { total_size: 16 }, weight_map: { a: shards[0], b: shards[1] } }
  const bytes = jsonText(random, mutateJson(random, seed, [...places, 'weight_map', 'a', 'b']))
  const run = () => {
    writeFileSync(path.join(sharded, 'model.safetensors.index.json'), bytes)
    const { entries } = openCheckpoint(sharded)
    assert(!entries.has('secret'), 'no tensor of another folder')
    checkEntries(entries)
  }
  return { bytes, run }
}

const torchFiles = ['pytorch_model.bin', 'pytorch_model_zip64.bin'].map((name) =>
  read(`fuzz/seeds/${name}`),
)
const pickled = (() => {
  const [file] = torchFiles
  const start = file.indexOf(Buffer.from([0x80, 2, 0x63]))
  return file.subarray(start, file.indexOf(Buffer.from('PK\u0003\u0004'), start))
})()
const globals = ['cos\nsystem\n', 'cbuiltins\neval\n', 'ctorch\nFloatStorage\n']
const opcodes = [...globals, ...'()}RQtusb0.ea]io\u0093\u0094'].map((text) =>
  Buffer.from(text, 'latin1'),
)

function pickle(random) {
  const bytes = mutateBytes(random, pickled, random.rarely(2) ? opcodes : [pickled])
  const run = () => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    for (const tensor of readStateDict('pickle', view).values()) {
      assert(
        [tensor.offset, ...tensor.shape, ...tensor.stride].every(
          (n) => Number.isSafeInteger(n) && n >= 0,
        ),
      )
      assert(typeof tensor.storage.key === 'string')
    }
  }
  return { bytes, run }
}

function zip(random) {
  const file = random.of(torchFiles)
  const directory = file.indexOf(Buffer.from('PK\u0001\u0002'))
  // Most of the file is padding: half of the changes are in the records at its end.
  const bytes = random.rarely(2)
    ? mutateBytes(random, file, torchFiles)
    : Buffer.concat([file.subarray(0, directory), mutateBytes(random, file.subarray(directory))])
  const run = async () => {
    const from = inFolder('torch')
    mkdirSync(from, { recursive: true })
    writeFileSync(path.join(from, 'pytorch_model.bin'), bytes)
    const to = inFolder('converted')
    const before = readdirSync(folder).length
    try {
      await convertCheckpoint(from, to)
      checkEntries(openSafetensors([path.join(to, 'model.safetensors')]))
      rmSync(to, { recursive: true })
    } finally {
      const left = readdirSync(folder)
      assert.equal(left.length, before, `nothing left behind, got ${left}`)
    }
  }
  return { bytes, run }
}

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

function tokenFolder(name) {
  const dir = inFolder(name)
  mkdirSync(dir, { recursive: true })
  return dir
}

function sentencepiece(random) {
  const bytes = mutateMessage(random, random.of(models), messages)
  const config = random.rarely(4)
    ? jsonText(random, mutateJson(random, tokenizerConfig, tokenWords))
    : Buffer.from('{}')
  const run = async () => {
    const dir = tokenFolder('sentencepiece')
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

function tokenizerJson(random) {
  const bytes = jsonText(random, mutateJson(random, random.of(tokenizerJsons), kinds))
  const run = async () => {
    const dir = tokenFolder('tokenizer')
    writeFileSync(path.join(dir, 'tokenizer.json'), bytes)
    await checkTokenizer(dir, random)
  }
  return { bytes, run }
}

const configs = `../demo/mixtral-tiny ../demo/moepp-tiny ../demo/yuan-tiny
  fixtures/golden/yuan/tiny-d-variant fixtures/golden/moepp/twolayer-gqa-f32
  fixtures/golden/mixtral/window-f32 fixtures/golden/qwen3_moe/step-yarn-f32
  fixtures/golden/qwen2_moe/base-f32 fixtures/golden/olmoe/base-f32 fixtures/golden/deepseek/base-f32
  fixtures/golden/deepseek_v2/groups-qlora-f32 fixtures/golden/deepseek_v3/base-f32
  fixtures/golden/gpt_oss/base-f32 fixtures/golden/longcat_flash/base-f32
  fixtures/golden/llama_moe/sizes-bf16 fixtures/golden/granitemoe/shared-f32
  fixtures/golden/phimoe/longrope-bf16`
  .split(/\s+/)
  .map((dir) => json(`${dir}/config.json`))
const configWords =
  `linear dynamic llama3 yarn default rope_scaling rope_parameters type factor silu
  float32 bfloat16 mixtral yuan MoE++ MixtralForCausalLM sliding_window full_attention
  longrope greedy group_limited_greedy sigmoid noaux_tc linear mlp num_experts first_k_dense_replace`.split(
    /\s+/,
  )

function config(random) {
  const changed = mutateJson(random, random.of(configs), configWords)
  const bytes = Buffer.from(JSON.stringify(changed) ?? 'null')
  const run = () => {
    if (typeof changed !== 'object' || changed === null || Array.isArray(changed)) return
    const { config: read } = describeModel(JSON.parse(bytes))
    for (const key of [
      'vocabSize',
      'hiddenSize',
      'numLayers',
      'numHeads',
      'numKeyValueHeads',
      'headSize',
      'topK',
    ])
      assert(Number.isSafeInteger(read[key]) && read[key] >= 1, `${key} ${read[key]}`)
    for (const [key, value] of [
      ['rope.theta', read.rope.theta],
      ['rmsNormEps', read.rmsNormEps],
    ])
      assert(Number.isFinite(value) && value >= 0, `${key} ${value}`)
    assert(read.topK <= read.experts.length, 'topK of the experts')
    assert(
      read.eosIds.every((id) => Number.isSafeInteger(id) && id >= 0),
      'ids',
    )
  }
  return { bytes, run }
}

/** By name. */
export const targets = { safetensors, index, pickle, zip, sentencepiece, tokenizerJson, config }
