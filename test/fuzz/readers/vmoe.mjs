// Checkpoints of google-research/vmoe: an index and shards in msgpack.
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { ExtData, encode } from '@msgpack/msgpack'
import { readVmoe } from '../../../build/modules/convert/vmoe.js'
import { elementBytes } from '../../../build/modules/weights/safetensors.js'
import { mutateBytes, mutateJson } from '../mutate.mjs'
import { madeFolder } from './inputs.mjs'

// Values that JSON has not, as it can say them: { ext, of } an extension type, { pack } bytes of msgpack, { zeros } bytes.
const slices = (...axes) => axes.map(([from, to]) => ({ pack: [from, to, null] }))
const info = (shape, parts) => ({
  ext: 8,
  of: {
    pack: [
      { pack: [shape, 'float32', false, {}] },
      parts.map((part) => ({ pack: slices(...part) })),
      parts.map((_, i) => i),
    ],
  },
})
const chunk = (values, ...axes) => [
  [{ ext: 1, of: { pack: [[values], 'float32', { zeros: 4 * values }] } }],
  { ext: 6, of: { pack: slices(...axes) } },
]
const index = {
  shard_count: 2,
  version: '20220622',
  index: {
    params: {
      a: {
        bias: info([3], [[[0, 3]]]),
        kernel: info(
          [4, 3],
          [
            [
              [0, 2],
              [0, 3],
            ],
            [
              [2, 4],
              [0, 3],
            ],
          ],
        ),
      },
    },
    step: info([], [[]]),
  },
}
const mark = { __msgpack_array_chunk_a87ca2__: true }
const shards = [
  { ...mark, 0: [chunk(3, [0, 3])], 1: [chunk(6, [0, 2], [0, 3])], 2: [chunk(1)] },
  { ...mark, 1: [chunk(6, [2, 4], [0, 3])] },
]
const words =
  `params float32 bfloat16 int64 complex64 constructor shard_count ext pack of zeros 1 6 8`.split(
    ' ',
  )

function lower(value) {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(lower)
  const { ext, of, pack, zeros } = value
  const small = (n, most) => (Number.isInteger(n) && n >= 0 && n <= most ? n : 0)
  if (pack !== undefined) return encode(lower(pack))
  if (zeros !== undefined) return new Uint8Array(small(zeros, 4096))
  if (ext === undefined)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, lower(item)]))
  const data = lower(of)
  return new ExtData(small(ext, 127), data instanceof Uint8Array ? data : new Uint8Array())
}

/** Some are deeper than the encoder goes. */
function packed(value) {
  try {
    return Buffer.from(encode(lower(value)))
  } catch {
    return Buffer.from([0x80])
  }
}

export function vmoe(random) {
  const which = random.below(3)
  const bytes = [index, ...shards].map((value, i) => {
    if (i !== which) return packed(value)
    return random.rarely(4)
      ? mutateBytes(random, packed(value))
      : packed(mutateJson(random, value, words))
  })
  const run = async () => {
    const dir = madeFolder('vmoe')
    const names = ['a.index', 'a.data-00000-of-00002', 'a.data-00001-of-00002']
    for (const [i, name] of names.entries()) writeFileSync(path.join(dir, name), bytes[i])
    for (const { name, dtype, shape, bytes: size, data } of await readVmoe(
      path.join(dir, names[0]),
    )) {
      assert(typeof name === 'string' && Object.hasOwn(elementBytes, dtype), `dtype ${dtype}`)
      assert(shape.reduce((n, dim) => n * dim, elementBytes[dtype]) === size, 'bytes of its shape')
      assert(data().length === size, 'as many as it says')
    }
  }
  return { bytes: Buffer.concat(bytes), run }
}
