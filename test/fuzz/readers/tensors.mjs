// Files of tensors: safetensors, its index, and what convert reads.
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { convertCheckpoint } from '../../../build/modules/convert/convert.js'
import { readStateDict } from '../../../build/modules/convert/pickle.js'
import { openCheckpoint } from '../../../build/modules/weights/checkpoint.js'
import { openSafetensors } from '../../../build/modules/weights/safetensors.js'
import { jsonText, mutateBytes, mutateJson } from '../mutate.mjs'
import { checkEntries, folder, inFolder, read, stored } from './inputs.mjs'

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

export function safetensors(random) {
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

export function index(random) {
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

export function pickle(random) {
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

export function zip(random) {
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
