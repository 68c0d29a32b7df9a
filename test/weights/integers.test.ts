import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { type IntegerMatrix, native, type Tensor, type WeightFormat } from '../../lib/native.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { CheckpointWeights } from '../../lib/weights/checkpoint_weights.ts'
import { rowsOf } from '../../lib/weights/weights.ts'
import { Random } from '../cases/case.ts'
import {
  copyCheckpoint,
  editJson,
  failure,
  readStored,
  type StoredTensor,
  temporaryFolder,
  writeStored,
} from '../support/files.ts'
import { fixture, golden, range, rms } from '../support/golden.ts'
import { identityProduct } from '../support/weights.ts'

const { Weight, tensorFrom, pack } = native()

type Vector = { bits?: 4 | 8; group_size?: number } & Record<
  string,
  { dtype: string; shape: number[]; data: number[] }
>
const vectors = JSON.parse(readFileSync(fixture('integers', 'vectors.json'), 'utf8')) as Record<
  string,
  Vector
>

/** As a file has them: f16 scales are read as f32 here, which has them exactly. */
const tensorOf = (part: Vector[string] | undefined): Tensor | undefined =>
  part &&
  (part.dtype.startsWith('int')
    ? tensorFrom(Int32Array.from(part.data), part.shape, 'i32')
    : tensorFrom(Float32Array.from(part.data), part.shape, 'f32'))

const matrixOf = (name: string, v: Vector): IntegerMatrix => ({
  layout: name.startsWith('gptq') ? 'gptq' : name.startsWith('awq') ? 'awq' : 'packed',
  bits: v.bits ?? 4,
  group: v.group_size!,
  shape: v.weight!.shape,
  values: tensorOf(v.qweight ?? v.weight_packed)!,
  scales: tensorOf(v.scales ?? v.weight_scale)!,
  zeros: tensorOf(v.qzeros ?? v.weight_zero_point),
  order: tensorOf(v.g_idx),
  zeroShift: name.startsWith('gptq'),
  name,
})

const packed = Object.entries(vectors).filter(([name]) => !name.startsWith('int-quantized'))

it.each(packed)('unpacks what was packed as published: %s', async (name, v) => {
  const { shape, data } = v.weight!
  const weight = new Weight(shape, 'f32')
  await pack(weight, [[matrixOf(name, v), 0, shape[0]!]])
  expect(await identityProduct(weight)).toEqual(Array.from(Float32Array.from(data)))
})

/** What files of these layouts say of themselves. */
const said: [prefix: string, quantization: object][] = [
  ['gptq4', { quant_method: 'gptq', bits: 4, group_size: 16, desc_act: true }],
  ['gptq8', { quant_method: 'gptq', bits: 8, group_size: 16, desc_act: true }],
  ['awq4', { quant_method: 'awq', version: 'gemm', bits: 4, group_size: 16, zero_point: true }],
  ['pack', { quant_method: 'compressed-tensors', format: 'pack-quantized' }],
  ['int', { quant_method: 'compressed-tensors', format: 'int-quantized' }],
]

/** The layer's tensors as a file stores them. */
function storedLayer(name: string, v: Vector): Map<string, StoredTensor> {
  const stored = new Map<string, StoredTensor>()
  const bytes = (data: ArrayBufferView) =>
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  for (const [part, one] of Object.entries<Vector[string] | number | undefined>(v)) {
    if (typeof one !== 'object' || typeof one.dtype !== 'string') continue
    const { dtype, shape, data } = one
    const integers = dtype.startsWith('int')
    const array = integers ? Int32Array.from(data) : Float32Array.from(data)
    stored.set(`layer.${part}`, { dtype: integers ? 'I32' : 'F32', shape, data: bytes(array) })
  }
  if (name.startsWith('int-quantized')) {
    const { shape, data } = v.weight!
    const scale = v.weight_scale!.data
    const values = data.map((w, i) => Math.round(w / scale[Math.floor(i / shape[1]!)]!))
    stored.set('layer.weight', { dtype: 'I8', shape, data: bytes(Int8Array.from(values)) })
  }
  return stored
}

it.each(Object.entries(vectors))('loads a file that holds %s', async (name, v) => {
  const dir = temporaryFolder()
  const [, quantization_config] = said.find(([prefix]) => name.startsWith(prefix))!
  writeFileSync(path.join(dir, 'config.json'), JSON.stringify({ quantization_config }))
  writeStored(path.join(dir, 'model.safetensors'), storedLayer(name, v))
  const { shape, data } = v.weight!
  for (const wanted of ['f32', 'auto'] as const) {
    const weights = new CheckpointWeights(openCheckpoint(dir), 'f32', undefined, wanted)
    const matrix = weights.matrix([rowsOf('layer.weight', shape)])
    await weights.load({})
    weights.checkNames()
    const got = await identityProduct(matrix)
    // 8 bits for what has no format of its own; bytes with a scale a row have one.
    expect(matrix.format).toBe(
      wanted === 'f32' ? 'f32' : name.startsWith('int') ? 'int8' : 'int8g128',
    )
    const largest = Math.max(...data.map(Math.abs))
    const bound = wanted === 'f32' ? 2 ** -24 : name.startsWith('int') ? 2 ** -22 : 1 / 200
    for (const [i, value] of got.entries())
      expect(Math.abs(value - data[i]!)).toBeLessThanOrEqual(largest * bound)
  }
})

// Random integers in every layout, and the formats that have them as they are.
const kept: [layout: IntegerMatrix['layout'], bits: 4 | 8, group: number, WeightFormat][] = [
  ['gptq', 4, 32, 'int4g32z'],
  ['gptq', 4, 64, 'int4g32z'],
  ['gptq', 4, 128, 'int4g128z'],
  ['awq', 4, 128, 'int4g128z'],
  ['packed', 4, 32, 'int4g32'],
  ['packed', 4, 0, 'int4g128'],
  ['packed', 8, 128, 'int8g128'],
  ['packed', 8, 0, 'int8'],
  ['bytes', 8, 128, 'int8g128'],
  ['bytes', 8, 0, 'int8'],
]

function randomMatrix(
  layout: IntegerMatrix['layout'],
  bits: 4 | 8,
  group: number,
  [N, K]: [number, number],
  random: Random,
): IntegerMatrix {
  const words = (n: number) => Int32Array.from({ length: n }, () => random.int(2 ** 32) | 0)
  const G = group === 0 ? 1 : K / group
  const columns = layout === 'gptq' || layout === 'awq'
  const word = 32 / bits
  const shape = layout === 'gptq' ? [K / word, N] : layout === 'awq' ? [K, N / word] : [N, K / word]
  // Of few bits, so that f16 has them.
  const scales = Float32Array.from({ length: N * G }, () => (1 + random.int(1000)) / 2 ** 14)
  return {
    ...{ layout, bits, group, shape: [N, K], zeroShift: false, name: 'random' },
    values:
      layout === 'bytes'
        ? tensorFrom(
            Uint8Array.from({ length: N * K }, () => random.int(256)),
            [N, K],
            'u8',
          )
        : tensorFrom(words((N * K) / word), shape, 'i32'),
    scales: tensorFrom(scales, columns ? [G, N] : [N, G], 'f32'),
    zeros: columns ? tensorFrom(words((G * N) / word), [G, N / word], 'i32') : undefined,
  }
}

it.each(kept)(
  '%s of %i bits, groups of %i: %s has its very values',
  async (layout, bits, group, format) => {
    const [N, K] = [72, 256]
    const matrix = randomMatrix(layout, bits, group, [N, K], new Random(5))
    const [exact, plain] = [new Weight([N, K], format), new Weight([N, K], 'f32')]
    for (const weight of [exact, plain]) await pack(weight, [[matrix, 0, N]])
    const [got, want] = [await identityProduct(exact), await identityProduct(plain)]
    // A unit is 127 times the f32 nearest to 1 / 127.
    for (const [i, value] of got.entries())
      expect(Math.abs(value - want[i]!)).toBeLessThanOrEqual(Math.abs(want[i]!) * 2 ** -22)
  },
)

describe('integers that cannot be', () => {
  const shape: [number, number] = [8, 32]
  const refused = async (change: Partial<IntegerMatrix>, format: WeightFormat = 'f32') =>
    pack(new Weight(shape, format), [
      [{ ...randomMatrix('gptq', 4, 32, shape, new Random(1)), name: 'layer.7', ...change }, 0, 8],
    ])
  const zeros = (n: number) => tensorFrom(new Int32Array(n), [n], 'i32')

  it.each<[string, Partial<IntegerMatrix>, string, RegExp]>([
    ['values of another shape', { values: zeros(4) }, 'ERR_MOE_SHAPE', /values/],
    ['more groups than there are scales', { group: 8 }, 'ERR_MOE_SHAPE', /scales/],
    ['AWQ of 8 bits', { layout: 'awq', bits: 8 }, 'ERR_MOE_OPTION', /bits/],
    [
      'scales that are not finite',
      { scales: tensorFrom(new Float32Array(8).fill(Number.NaN), [1, 8], 'f32') },
      'ERR_MOE_CHECKPOINT',
      /layer\.7: scales must be finite, got nan/,
    ],
    [
      'a group that is none',
      { order: tensorFrom(new Int32Array(32).fill(1), [32], 'i32') },
      'ERR_MOE_CHECKPOINT',
      /layer\.7: g_idx must be a group index below 1, got 1/,
    ],
  ])('%s', async (_, change, code, message) => {
    await expect(refused(change)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })

  it('zero points where a file promises none', async () => {
    await expect(refused({}, 'int4g32')).rejects.toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/layer\.7: zero points must all be 8/),
    })
  })
})

describe('a GPTQ checkpoint', () => {
  it.each([
    ['tiny-e-gptq4', 'int4g32'],
    ['tiny-f-gptq8', 'int8'], // its groups of 32 are whole rows, or else quantised again
  ])('%s is multiplied with as it is', async (folder, wanted) => {
    const dir = fixture('golden/yuan', folder)
    const want = golden(path.join(dir, 'golden.safetensors'))
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
    const formats = (wanted: string) =>
      model.weights.filter(({ part }) => part === wanted).map(({ format }) => format)
    expect(formats('experts')).toContain(wanted)
    expect(formats('router')).toEqual(['f32'])
    const { logits } = await model.forward(want.ids('prefill.input_ids'), { logits: 'all' })
    const V = model.config.vocabSize
    const errors = range(logits.length / V).map((t) => {
      const row = (all: Float32Array | Float64Array) => all.subarray(t * V, (t + 1) * V)
      const exact = row(want.get('prefill.logits'))
      return rms(row(logits), exact) / rms(exact, new Float64Array(V))
    })
    // What rows lose by being integers; where a token's experts change, that says nothing.
    expect(errors.sort((a, b) => a - b)[errors.length >> 1]).toBeLessThan(0.05)
    expect(errors[0]).toBeGreaterThan(0)
  })

  it('may have biases of zeros, as AutoGPTQ writes them for models without', async () => {
    const dir = copyCheckpoint(fixture('golden/yuan/tiny-e-gptq4'))
    const file = path.join(dir, 'gptq_model-4bit-32g.safetensors')
    const tensors = readStored(file)
    const [matrix] = [...tensors].find(([name]) => name.endsWith('.qweight'))!
    const bias = { dtype: 'F16', shape: [8], data: Buffer.alloc(16) }
    const name = matrix.replace('qweight', 'bias')
    writeStored(file, tensors.set(name, bias))
    await (await loadModel(dir, { device: 'cpu', maxTokens: 64 })).dispose()
    bias.data[3] = 1
    writeStored(file, tensors)
    expect(await failure(() => loadModel(dir, { device: 'cpu' }))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringContaining(`tensor ${name} must be one the model knows`),
    })
  })

  it('of groups in any order is quantised again, in 8 bits', async () => {
    const dir = copyCheckpoint(fixture('golden/yuan/tiny-e-gptq4'))
    editJson(path.join(dir, 'quantize_config.json'), (json) => (json.desc_act = true))
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
    expect(model.weights.find(({ part }) => part === 'experts')!.format).toBe('int8g128')
  })

  it('keeps 4 bits where 8 are asked for, and unpacks where bf16 is', async () => {
    const dir = fixture('golden/yuan/tiny-e-gptq4')
    await using eight = await loadModel(dir, { device: 'cpu', weights: 'int8', maxTokens: 64 })
    const formats = ({ weights }: typeof eight) =>
      Object.fromEntries(weights.map(({ part, format }) => [part, format]))
    expect(formats(eight)).toMatchObject({ experts: 'int4g32', head: 'int8' })
    await using half = await loadModel(dir, { device: 'cpu', weights: 'bf16', maxTokens: 64 })
    expect(formats(half)).toMatchObject({ experts: 'bf16', head: 'bf16', router: 'f32' })
  })
})
