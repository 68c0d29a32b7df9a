import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  type EncodedMatrix,
  type Fp8Matrix,
  type Mxfp4Matrix,
  native,
  type Tensor,
} from '../../lib/native.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { CheckpointWeights } from '../../lib/weights/checkpoint_weights.ts'
import type { Json } from '../../lib/weights/json.ts'
import { type Rows, rowsOf } from '../../lib/weights/weights.ts'
import { failure, type StoredTensor, temporaryFolder, writeStored } from '../support/files.ts'
import { range } from '../support/golden.ts'
import { bf16Bits, identityProduct } from '../support/weights.ts'

const { Plan, Arena, Weight, pack, copyToF32, tensorFrom, transpose, tensor } = native()

const bytes = (data: Uint8Array | Uint16Array | Float32Array) =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
/** Numbers that all types hold exactly. */
const encode: Record<string, (values: number[]) => Uint8Array> = {
  F32: (values) => bytes(Float32Array.from(values)),
  BF16: (values) => bytes(Uint16Array.from(values, bf16Bits)),
  // 5 bits of exponent, biased by 15, 10 of fraction.
  F16: (values) =>
    bytes(
      Uint16Array.from(values, (v) => {
        if (v === 0) return 0
        const exponent = Math.floor(Math.log2(v))
        return ((exponent + 15) << 10) | ((v / 2 ** exponent - 1) * 1024)
      }),
    ),
  U8: (values) => Uint8Array.from(values),
}
encode.F8_E4M3 = encode.F8_E8M0 = encode.I8 = encode.U8!

const stored = (dtype: string, shape: number[], values: number[]): StoredTensor => ({
  ...{ dtype, shape, data: encode[dtype]!(values) },
})

/** The weights of a folder that has these tensors. */
function weightsOf(tensors: Record<string, StoredTensor>, quantization?: Json): CheckpointWeights {
  const dir = temporaryFolder()
  const config = quantization ? { quantization_config: quantization } : {}
  writeFileSync(path.join(dir, 'config.json'), JSON.stringify(config))
  writeStored(path.join(dir, 'model.safetensors'), new Map(Object.entries(tensors)))
  return new CheckpointWeights(openCheckpoint(dir), 'bf16')
}

async function loaded(weights: CheckpointWeights, rows: Rows[]): Promise<number[]> {
  const matrix = weights.matrix(rows)
  await weights.load({})
  weights.checkNames()
  return identityProduct(matrix)
}

async function read(out: Tensor): Promise<number[]> {
  const plan = new Plan(new Arena())
  plan.output('out', out)
  return Array.from((await plan.run({}, 1)).out!)
}

/** Even and then odd rows. */
const deinterleaved = (rows: Omit<Rows, 'start' | 'count' | 'step'>, half: number): Rows[] =>
  [0, 1].map((start) => ({ ...rows, start, count: half, step: 2 }))

describe.each(['F32', 'BF16', 'F16'])('rows of a file in %s', (dtype) => {
  const [E, N, K] = [3, 70, 37]
  const value = (e: number, n: number, k: number) => (e * 64 + n + k * 5) % 128
  const half = range(N / 2)
  const wanted = (e: number) =>
    [...half.map((i) => 2 * i), ...half.map((i) => 2 * i + 1)].flatMap((n) =>
      range(K).map((k) => value(e, n, k)),
    )

  it('every second one of a slab', async () => {
    const values = range(E * N * K).map((i) =>
      value(Math.floor(i / N / K), Math.floor(i / K) % N, i % K),
    )
    const weights = weightsOf({ w: stored(dtype, [E, N, K], values) })
    const rows = deinterleaved({ name: 'w', shape: [E, N, K], slab: 2 }, N / 2)
    expect(await loaded(weights, rows)).toEqual(wanted(2))
    expect(weights.parameters.dense).toBe(N * K)
  })

  it('columns of a slab that is stored transposed', async () => {
    const values = range(E * K * N).map((i) =>
      value(Math.floor(i / N / K), i % N, Math.floor(i / N) % K),
    )
    const weights = weightsOf({ w: stored(dtype, [E, K, N], values) })
    const rows = { name: 'w', shape: [E, K, N], slab: 1, transposed: true }
    expect(await loaded(weights, deinterleaved(rows, N / 2))).toEqual(wanted(1))
  })

  it('rows that are filled up with zeros', async () => {
    const [rows, width] = [3, 4]
    const values = range(2 * rows * width).map((i) => i + 1)
    const tensors = { w: stored(dtype, [rows, width], values.slice(0, rows * width)) }
    const padded = {
      ...rowsOf('w', [rows, width]),
      padded: [rows + 2, width + 3] as [number, number],
    }
    const wide = range(rows + 2).flatMap((n) =>
      range(width + 3).map((k) => (n < rows && k < width ? n * width + k + 1 : 0)),
    )
    const weights = weightsOf(tensors)
    expect(await loaded(weights, [padded, padded])).toEqual([...wide, ...wide])
    expect(weights.parameters.dense).toBe(2 * rows * width)
  })

  it('vectors: gathered from slabs, and times a factor', async () => {
    const bias = range(E * N).map((i) => value(0, i, 0))
    const weights = weightsOf({
      bias: stored(dtype, [E, N], bias),
      norm: stored(dtype, [4], [1, 2, 3, 8]),
    })
    const rows = range(E).flatMap((slab) =>
      deinterleaved({ name: 'bias', shape: [E, N], slab }, N / 2),
    )
    const gathered = weights.gathered(rows, [E, N])
    const norm = weights.vector('norm', [4], 0.125)
    await weights.load({})
    expect(await read(norm)).toEqual([0.125, 0.25, 0.375, 1])
    expect(gathered.shape).toEqual([E, N])
    expect(await read(gathered)).toEqual(
      range(E).flatMap((e) => [0, 1].flatMap((odd) => half.map((i) => bias[e * N + 2 * i + odd]!))),
    )
  })
})

describe('a file in MXFP4', () => {
  const [E, N, K] = [2, 6, 64]
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
  const codes = range(E * N * K).map((i) => (i * 5 + (i >> 6)) % 16)
  const exponents = range((E * N * K) / 32).map((i) => (i % 7) - 3)
  const tensors = {
    w_blocks: stored(
      'U8',
      [E, N, K / 32, 16],
      range((E * N * K) / 2).map((b) => codes[2 * b]! | (codes[2 * b + 1]! << 4)),
    ),
    w_scales: stored(
      'U8',
      [E, N, K / 32],
      exponents.map((e) => e + 127),
    ),
  }
  const mxfp4 = { quant_method: 'mxfp4', modules_to_not_convert: ['lm_head'] }
  /** As gpt-oss has its experts in bf16: transposed, gate and up rows interleaved. */
  const rows = (slab: number) =>
    deinterleaved({ name: 'w', shape: [E, K, N], slab, transposed: true }, N / 2)
  const wanted = (e: number) =>
    [0, 2, 4, 1, 3, 5].flatMap((n) =>
      range(K).map((k) => {
        const i = (e * N + n) * K + k
        const code = codes[i]!
        return (code < 8 ? 1 : -1) * magnitudes[code % 8]! * 2 ** exponents[i >> 5]! || 0
      }),
    )

  it('stands for the tensor of its name', async () => {
    const weights = weightsOf(tensors, mxfp4)
    expect([weights.has('w'), weights.has('w_blocks'), weights.has('x')]).toEqual([
      true,
      true,
      false,
    ])
    const [first, second] = [weights.matrix(rows(0)), weights.matrix(rows(1))]
    expect(first.format).toBe('mxfp4')
    const bytesOf: number[] = []
    await weights.load({ onProgress: ({ totalBytes }) => bytesOf.push(totalBytes) })
    weights.checkNames()
    expect(bytesOf[0]).toBe(tensors.w_blocks.data.length + tensors.w_scales.data.length)
    expect((await identityProduct(first)).map((v) => v || 0)).toEqual(wanted(0))
    expect((await identityProduct(second)).map((v) => v || 0)).toEqual(wanted(1))
  })

  it.each<[string, () => Record<string, StoredTensor>, string, RegExp]>([
    [
      'no scales',
      () => ({ w_blocks: tensors.w_blocks }),
      'ERR_MOE_CHECKPOINT',
      /tensor w_scales must be there/,
    ],
    [
      'scales of another shape',
      () => ({ ...tensors, w_scales: stored('U8', [E, N, 1], range(E * N)) }),
      'ERR_MOE_CHECKPOINT',
      /tensor w_scales must be \[2, 6, 2\], got \[2, 6, 1\]/,
    ],
    [
      'scales of another type',
      () => ({ ...tensors, w_scales: stored('F32', [E, N, 2], exponents) }),
      'ERR_MOE_DTYPE',
      /w_scales must be U8 or F8_E8M0, got F32/,
    ],
    [
      'blocks of another type',
      () => ({ ...tensors, w_blocks: { ...tensors.w_blocks, dtype: 'I8' } }),
      'ERR_MOE_DTYPE',
      /w_blocks must be U8, got I8/,
    ],
    [
      'blocks of another shape',
      () => ({ ...tensors, w_blocks: { ...tensors.w_blocks, shape: [E, N, 4, 8] } }),
      'ERR_MOE_CHECKPOINT',
      /tensor w_blocks must be \[2, 6, 2, 16\], got \[2, 6, 4, 8\]/,
    ],
  ])('%s', async (_, damaged, code, message) => {
    const error = await failure(() => weightsOf(damaged(), mxfp4).matrix(rows(0)))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })

  it('rows that are no multiple of 32 values', async () => {
    const odd = rowsOf('w', [N, 48])
    expect(await failure(() => weightsOf(tensors, mxfp4).matrix([odd]))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/rows of w must be a multiple of 32 values for MXFP4, got 48/),
    })
  })
})

describe('a file in FP8', () => {
  const [E, N, K] = [2, 5, 7]
  // 0x38 is 1, and each step above it an eighth more.
  const codes = range(E * N * K).map((i) => 0x38 + (i % 8))
  const one = (i: number) => 1 + (codes[i]! - 0x38) / 8
  const scales = range(E * 3 * 2).map((i) => 2 ** (i - 5))
  const w = stored('F8_E4M3', [E, N, K], codes)
  const fp8 = (block?: unknown) => ({ quant_method: 'fp8', weight_block_size: block })

  it.each(['F32', 'BF16', 'F8_E8M0'])('slabs with a scale for each block, in %s', async (dtype) => {
    const values = dtype === 'F8_E8M0' ? scales.map((s) => Math.log2(s) + 127) : scales
    const tensors = { w, w_scale_inv: stored(dtype, [E, 3, 2], values) }
    const rows = { ...rowsOf('w', [E, N, K]), slab: 1, count: N }
    expect(await loaded(weightsOf(tensors, fp8([2, 4])), [rows])).toEqual(
      range(N * K).map((i) => {
        const block = 6 + 2 * Math.floor(i / K / 2) + Math.floor((i % K) / 4)
        return one(N * K + i) * scales[block]!
      }),
    )
  })

  it.each<[string, string, number[]]>([
    ['without dimensions', 'w_scale_inv', []],
    ['as a list of one', 'w_scale_inv', [1]],
    ['by another name', 'w_scale', []],
    ['as a matrix', 'w_scale', [1, 1]],
  ])('one scale of the whole matrix: %s', async (_, name, shape) => {
    const all = stored('F8_E4M3', [E * N, K], codes)
    const weights = weightsOf({ w: all, [name]: stored('F32', shape, [0.25]) }, fp8())
    const rows = [rowsOf('w', [E * N, K])]
    expect(await loaded(weights, rows)).toEqual(codes.map((_, i) => one(i) / 4))
  })

  const good = { w, w_scale_inv: stored('F32', [E, 3, 2], scales) }
  it.each<[string, Record<string, StoredTensor>, Json | undefined, string, RegExp]>([
    ['no scales', { w }, fp8([2, 4]), 'ERR_MOE_CHECKPOINT', /tensor w_scale_inv must be there/],
    [
      'scales of other blocks',
      good,
      fp8([4, 4]),
      'ERR_MOE_CHECKPOINT',
      /tensor w_scale_inv must be \[2, 2, 2\], got \[2, 3, 2\]/,
    ],
    [
      'scales of another type',
      { w, w_scale_inv: stored('U8', [E, 3, 2], scales) },
      fp8([2, 4]),
      'ERR_MOE_DTYPE',
      /w_scale_inv must be F32, BF16, F16 or F8_E8M0, got U8/,
    ],
    [
      'no word about it in config.json',
      good,
      undefined,
      'ERR_MOE_CHECKPOINT',
      /quantization_config of config.json must have quant_method "fp8" or "compressed-tensors" for w/,
    ],
    [
      'blocks of no size',
      good,
      fp8([0, 4]),
      'ERR_MOE_UNSUPPORTED',
      /quantization weight_block_size must be null or two sizes, got \[0,4\]/,
    ],
    [
      'activations with scales of their own',
      good,
      { ...fp8([2, 4]), activation_scheme: 'static' },
      'ERR_MOE_UNSUPPORTED',
      /quantization activation_scheme must be "dynamic", got "static"/,
    ],
    [
      'the other 8-bit float',
      good,
      { ...fp8([2, 4]), fmt: 'e5m2' },
      'ERR_MOE_UNSUPPORTED',
      /quantization fmt must be "e4m3" or "float8_e4m3fn", got "e5m2"/,
    ],
    ...['bitsandbytes', 'toString'].map((method): [string, typeof good, Json, string, RegExp] => [
      `method ${method}`,
      good,
      { quant_method: method },
      'ERR_MOE_UNSUPPORTED',
      RegExp(
        `quant_method must be "awq", "compressed-tensors", "fp8", "gptq" or "mxfp4", got "${method}"`,
      ),
    ]),
  ])('%s', async (_, tensors, quantization, code, message) => {
    const rows = { ...rowsOf('w', [E, N, K]), slab: 0, count: N }
    const error = await failure(() => weightsOf(tensors, quantization).matrix([rows]))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })

  it('is not read where values are asked for, or transposed', async () => {
    const vector = await failure(() => weightsOf(good, fp8([2, 4])).vector('w', [E, N, K]))
    expect(vector).toMatchObject({ code: 'ERR_MOE_DTYPE' })
    expect(vector.message).toMatch(/w must be F32, F16 or BF16, got F8_E4M3/)
    const rows = { ...rowsOf('w', [E, N, K]), slab: 0, transposed: true }
    const turned = await failure(() => weightsOf(good, fp8([2, 4])).matrix([rows]))
    expect(turned).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
  })
})

describe('native code refuses', () => {
  const f32 = (...shape: number[]) => tensor(shape, 'f32')
  const u8 = (...shape: number[]) =>
    tensorFrom(new Uint8Array(shape.reduce((a, b) => a * b)), shape, 'u8')
  const fp8Of = (n: number) => ({ layout: 'fp8', shape: [n, 2], values: u8(n, 2) }) as const
  const packed = (matrix: Omit<Mxfp4Matrix, 'name'> | Omit<Fp8Matrix, 'name'>) =>
    pack(new Weight([...matrix.shape], 'bf16'), [
      [{ ...matrix, name: 'w' } as EncodedMatrix, 0, matrix.shape[0]!],
    ])
  it.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'rows behind the end',
      () => pack(new Weight([3, 2], 'f32'), [[f32(5, 2), 0, 3, 3]]),
      /rows must be inside/,
    ],
    [
      'more zeros than rows',
      () => pack(new Weight([3, 2], 'f32'), [[f32(2, 2), 0, 2, 1, false, 4]]),
      /zeros must be as many as fit/,
    ],
    [
      'rows that are too wide to be filled up',
      () => pack(new Weight([3, 2], 'f32'), [[f32(3, 3), 0, 3, 1, false, 0]]),
      /source must be no wider than the weight/,
    ],
    [
      'steps of nothing',
      () => pack(new Weight([3, 2], 'f32'), [[f32(5, 2), 0, 3, 0]]),
      /rows must be inside/,
    ],
    [
      'too few values',
      () => copyToF32(f32(7), [[f32(3, 2), 0, 3]], 1),
      /rows must be as many values/,
    ],
    [
      'a vector behind the end',
      () => copyToF32(f32(4), [[f32(3, 2), 2, 2]], 1),
      /rows must be inside/,
    ],
    [
      'a transposed matrix of another shape',
      () => transpose(f32(3, 2), f32(3, 2)),
      /out must be \[2, 3\]/,
    ],
    [
      'scales of too few groups',
      () => packed({ layout: 'mxfp4', shape: [2, 64], values: u8(2, 2, 16), scales: u8(2, 1) }),
      /scales must be \[2, 2\]/,
    ],
    [
      'rows of half a group',
      () => packed({ layout: 'mxfp4', shape: [2, 48], values: u8(2, 1, 16), scales: u8(2, 1) }),
      /shape must be of rows of whole groups of 32/,
    ],
    [
      'blocks without rows',
      () => packed({ ...fp8Of(2), block: [0, 1], scales: f32(2, 2) }),
      /blockRows must be at least 1/,
    ],
    [
      'too few scales',
      () => packed({ ...fp8Of(3), block: [2, 2], scales: f32(1, 1) }),
      /scales must be \[2, 1\]/,
    ],
  ])('%s', async (_, call, message) => {
    const error = await failure(call)
    expect(error).toMatchObject({ name: 'MoeError' })
    expect(error.message).toMatch(message)
  })
})
