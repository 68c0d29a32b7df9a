import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type EncodedMatrix, native, type Tensor, type WeightFormat } from '../../lib/native.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { CheckpointWeights } from '../../lib/weights/checkpoint_weights.ts'
import { rowsOf } from '../../lib/weights/weights.ts'
import { fixture, range, readGolden } from '../support/golden.ts'
import { bf16Bits, e4m3, identityProduct } from '../support/weights.ts'

const { Weight, tensorFrom, pack } = native()

/** The values of a matrix packed as `format`; the ones that are not finite may spoil the others of their rows. */
async function unpacked(matrix: EncodedMatrix, format: WeightFormat): Promise<number[]> {
  const weight = new Weight([...matrix.shape], format)
  await pack(weight, [[matrix, 0, matrix.shape[0]!]])
  return identityProduct(weight)
}

describe('MXFP4', () => {
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
  const value = (code: number, scale: number) =>
    scale === 255 ? Number.NaN : (code < 8 ? 1 : -1) * magnitudes[code % 8]! * 2 ** (scale - 127)

  // A row for each code under each scale, all others of the row zero.
  const [N, K] = [256 * 16, 32]
  const at = (n: number) => (n * 7 + (n >> 4)) % K
  const blocks = new Uint8Array((N * K) / 2)
  for (const n of range(N)) blocks[(n * K + at(n)) >> 1] = (n % 16) << (4 * (at(n) % 2))
  const matrix: EncodedMatrix = {
    ...{ layout: 'mxfp4', shape: [N, K], name: 'all' },
    values: tensorFrom(blocks, [N, 1, 16], 'u8'),
    scales: tensorFrom(
      Uint8Array.from({ length: N }, (_, n) => n >> 4),
      [N, 1],
      'u8',
    ),
  }
  const own = (all: number[]) => range(N).map((n) => all[n * K + at(n)]!)
  const want = range(N).map((n) => value(n % 16, n >> 4))
  const same = (got: number[], wanted: number[]) =>
    expect(got.map((v) => v + 0)).toEqual(wanted.map((v) => v + 0)) // one zero

  it('unpacks every code under every scale exactly, low half of a byte first', async () => {
    const rounded = want.map((v) => fromBits(bf16Bits(v)))
    same(own(await unpacked(matrix, 'bf16')), rounded)
    const apart = rounded.filter((v, n) => Number.isFinite(v) && v !== want[n])
    expect([rounded.includes(Number.POSITIVE_INFINITY), apart]).toEqual([true, []])
  })

  it('multiplies with every code under every scale as it is', async () => {
    // A unit is 127 times the f32 nearest to 1 / 127; what is hardly a number becomes zero.
    const got = own(await unpacked(matrix, 'mxfp4'))
    for (const [n, v] of got.entries()) {
      const exact =
        Math.abs(want[n]!) > 3.4e38 ? Math.sign(want[n]!) * Number.POSITIVE_INFINITY : want[n]!
      if (!Number.isFinite(exact)) expect(v).toBe(exact)
      else expect(Math.abs(v - exact)).toBeLessThanOrEqual(Math.abs(exact) * 2 ** -22 + 2 ** -123)
    }
  })
})

const fromBits = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!

describe('FP8', () => {
  it('knows the range', () => {
    expect([e4m3(0x7e), e4m3(0x08), e4m3(0x01), e4m3(0xfe)]).toEqual([448, 2 ** -6, 2 ** -9, -448])
  })

  const fp8 = (
    values: Uint8Array,
    shape: [number, number],
    scales: Tensor,
    block: [number, number],
  ): EncodedMatrix => ({
    ...{ layout: 'fp8', shape, block, scales, name: 'layer.7' },
    values: tensorFrom(values, shape, 'u8'),
  })
  const f32 = (values: number[], shape: number[]) =>
    tensorFrom(Float32Array.from(values), shape, 'f32')

  // Every code in a row of its own, so that none spoils another.
  const codes = Uint8Array.from({ length: 256 }, (_, code) => code)
  const scales: [string, number][] = [
    ['1', 1],
    ['a power of two', 2 ** -13],
    ['any', Math.fround(0.0123456789)],
    [
      'one whose products lie beside the middle between two bf16',
      Math.fround((1 + 2 ** -8) * (1 + 2 ** -23)),
    ],
    ['one whose products lie below the middle', Math.fround(1 + 2 ** -8 - 2 ** -22)],
    ['one whose products have no room', 2 ** 120],
    ['one whose products are below the normal numbers', 2 ** -124 * 1.25],
    ['one that is hardly a number', 2 ** -149],
    ['negative', -3],
  ]
  const canonical = (values: number[]) => values.map((v) => (v === 0 ? 0 : v))
  it.each(scales)(
    'unpacks all 256 codes, rounded once, under a scale that is %s',
    async (_, scale) => {
      const matrix = fp8(codes, [256, 1], f32([scale], [1, 1]), [256, 1])
      const want = range(256).map((code) => fromBits(bf16Bits(e4m3(code) * scale)))
      expect(canonical(await unpacked(matrix, 'bf16'))).toEqual(canonical(want))
    },
  )

  it.each(scales.filter(([, scale]) => !(Math.abs(scale) >= 256 && scale < 2 ** 128)))(
    'multiplies with all 256 codes as they are, rounded to f32, under a scale that is %s',
    async (_, scale) => {
      const matrix = fp8(codes, [256, 1], f32([scale], [1, 1]), [256, 1])
      const want = range(256).map((code) => Math.fround(e4m3(code) * scale))
      for (const format of ['fp8', 'fp8g128'] as const)
        expect(canonical(await unpacked(matrix, format))).toEqual(canonical(want))
    },
  )

  it.each([Number.POSITIVE_INFINITY, Number.NaN])('refuses a scale of %f', async (scale) => {
    const matrix = fp8(codes, [256, 1], f32([scale], [1, 1]), [256, 1])
    await expect(unpacked(matrix, 'bf16')).rejects.toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/layer\.7: scales must be finite/),
    })
  })

  it('has columns', async () => {
    const matrix = fp8(new Uint8Array(), [2, 0], f32([], [1, 0]), [128, 128])
    await expect(pack(new Weight([2, 0], 'fp8'), [[matrix, 0, 2]])).rejects.toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: 'pack: source must be at least one column wide, got 0',
    })
  })

  it('says which matrix has scales that are too large to be kept', async () => {
    const matrix = fp8(codes, [256, 1], f32([256], [1, 1]), [256, 1])
    await expect(unpacked(matrix, 'fp8')).rejects.toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/layer\.7: scales must be below 256 .* got 256/),
    })
  })

  it.each<[string, (v: number[]) => Tensor]>([
    ['f32', (v) => f32(v, [3, 3])],
    ['bf16', (v) => tensorFrom(Uint16Array.from(v, bf16Bits), [3, 3], 'bf16')],
    [
      'powers of two',
      (v) =>
        tensorFrom(
          Uint8Array.from(v, (s) => Math.log2(s) + 127),
          [3, 3],
          'u8',
        ),
    ],
  ])('takes a scale for each block, with blocks cut at the ends; scales in %s', async (_, make) => {
    const factors = range(9).map((i) => 2 ** (i - 4))
    for (const [K, rows, columns, format] of [
      [37, 32, 16, 'bf16'],
      [290, 32, 128, 'fp8g128'],
    ] as const) {
      const N = 70
      const values = Uint8Array.from({ length: N * K }, (_, i) => (i * 31) % 127)
      const block = (i: number) => 3 * Math.floor(i / K / rows) + Math.floor((i % K) / columns)
      const want = Array.from(values, (code, i) => e4m3(code) * factors[block(i)]!) // bf16 has them
      const matrix = fp8(values, [N, K], make(factors), [rows, columns])
      expect(await unpacked(matrix, format)).toEqual(want)
    }
  })

  it('takes many small blocks, and quantises them where their columns are kept in 128', async () => {
    const [N, K] = [3, 300]
    const values = Uint8Array.from({ length: N * K }, (_, i) => 0x38 + (i % 8))
    const factors = range(N * 150).map((i) => 2 ** ((i % 9) - 4))
    const want = Array.from(values, (code, i) => e4m3(code) * factors[i >> 1]!)
    const matrix = fp8(values, [N, K], f32(factors, [N, 150]), [1, 2])
    expect(await unpacked(matrix, 'bf16')).toEqual(want)
    for (const [i, v] of (await unpacked(matrix, 'fp8g128')).entries())
      expect(Math.abs(v - want[i]!)).toBeLessThanOrEqual(want[i]! / 16)
  })
})

describe('GPTQ', () => {
  it.each(['tiny-e-gptq4', 'tiny-f-gptq8'])('unpacks %s exactly', async (folder) => {
    const dir = fixture('golden/yuan', folder)
    const wanted = [...readGolden(path.join(dir, 'golden.safetensors'))].filter(([name]) =>
      name.startsWith('dequant.'),
    )
    expect(wanted).toHaveLength(4)
    for (const [name, { shape, data }] of wanted) {
      const weights = new CheckpointWeights(openCheckpoint(dir), 'f32', undefined, 'f32')
      const matrix = weights.matrix([rowsOf(name.slice('dequant.'.length), shape)])
      await weights.load({})
      expect(matrix.format).toBe('f32')
      expect(await identityProduct(matrix)).toEqual(Array.from(data))
    }
  })
})
