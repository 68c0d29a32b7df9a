import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { native, type Tensor } from '../../lib/native.ts'
import { openCheckpoint } from '../../lib/weights/checkpoint.ts'
import { CheckpointWeights } from '../../lib/weights/checkpoint_weights.ts'
import { rowsOf } from '../../lib/weights/weights.ts'
import { fixture, range, readGolden } from '../support/golden.ts'
import { bf16Bits, identityProduct } from '../support/weights.ts'

const { tensor, tensorFrom, unpackFp8, unpackMxfp4, Plan, Arena } = native()

async function bits(out: Tensor): Promise<Uint16Array> {
  const plan = new Plan(new Arena())
  plan.output('out', out)
  return (await plan.run({}, 1)).out as Uint16Array
}

/** NaN has many bits, of which any will do. */
const canonical = (values: Iterable<number>) =>
  Array.from(values, (v) => ((v & 0x7fff) > 0x7f80 ? 'NaN' : v))

describe('MXFP4', () => {
  const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
  const value = (code: number, scale: number) =>
    scale === 255 ? Number.NaN : (code < 8 ? 1 : -1) * magnitudes[code % 8]! * 2 ** (scale - 127)

  it('unpacks every code under every scale exactly, low half of a byte first', async () => {
    const [N, K] = [256, 64] // a row for each scale; the second group has the scales backwards
    const codes = range(N * K).map((i) => (i * 7 + (i >> 5)) % 16)
    const blocks = Uint8Array.from(
      { length: (N * K) / 2 },
      (_, b) => codes[2 * b]! | (codes[2 * b + 1]! << 4),
    )
    const scales = Uint8Array.from({ length: 2 * N }, (_, i) =>
      i % 2 === 0 ? i >> 1 : 255 - (i >> 1),
    )
    const out = tensor([N, K], 'bf16')
    await unpackMxfp4(tensorFrom(blocks, [N, 2, 16], 'u8'), tensorFrom(scales, [N, 2], 'u8'), out)
    const want = codes.map((code, i) => value(code, scales[i >> 5]!))
    expect(canonical(await bits(out))).toEqual(canonical(want.map(bf16Bits)))
    const tooLarge = want.filter((v) => Math.abs(v) > 3.39e38).length
    const rounded = want.filter((v) => Math.abs(v) < 3.39e38 && fromBits(bf16Bits(v)) !== v)
    expect([tooLarge > 0, rounded]).toEqual([true, []]) // exact, but for what bf16 has no room for
  })
})

const fromBits = (bits: number): number => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!

/** OCP 8-bit floating point, E4M3. */
function e4m3(code: number): number {
  const [exponent, fraction] = [(code >> 3) & 15, code & 7]
  const magnitude = exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7)
  return (code & 127) === 127 ? Number.NaN : code < 128 ? magnitude : -magnitude
}

describe('FP8', () => {
  it('knows the range', () => {
    expect([e4m3(0x7e), e4m3(0x08), e4m3(0x01), e4m3(0xfe)]).toEqual([448, 2 ** -6, 2 ** -9, -448])
  })

  const codes = Uint8Array.from({ length: 256 }, (_, code) => code)
  it.each<[string, number]>([
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
    ['infinite', Number.POSITIVE_INFINITY],
  ])('unpacks all 256 codes, rounded once, under a scale that is %s', async (_, scale) => {
    const out = tensor([1, 256], 'bf16')
    const scales = tensorFrom(Float32Array.of(scale), [1, 1], 'f32')
    await unpackFp8(tensorFrom(codes, [1, 256], 'u8'), scales, 1, 256, out)
    const want = range(256).map((code) => bf16Bits(e4m3(code) * scale))
    expect(canonical(await bits(out))).toEqual(canonical(want))
  })

  it.each<[string, (v: number[]) => Tensor]>([
    ['f32', (v) => tensorFrom(Float32Array.from(v), [3, 3], 'f32')],
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
    const [N, K, rows, columns] = [70, 37, 32, 16]
    const scales = range(9).map((i) => 2 ** (i - 4))
    const values = Uint8Array.from({ length: N * K }, (_, i) => (i * 31) % 127)
    const out = tensor([N, K], 'bf16')
    await unpackFp8(tensorFrom(values, [N, K], 'u8'), make(scales), rows, columns, out)
    const block = (i: number) => 3 * Math.floor(i / K / rows) + Math.floor((i % K) / columns)
    const want = Array.from(values, (code, i) => bf16Bits(e4m3(code) * scales[block(i)]!))
    expect(Array.from(await bits(out))).toEqual(want)
  })
})

it('takes many small blocks of FP8', async () => {
  const [N, K] = [3, 300]
  const values = Uint8Array.from({ length: N * K }, (_, i) => 0x38 + (i % 8))
  const scales = Float32Array.from({ length: N * 150 }, (_, i) => 2 ** ((i % 9) - 4))
  const out = tensor([N, K], 'bf16')
  const parts = [tensorFrom(values, [N, K], 'u8'), tensorFrom(scales, [N, 150], 'f32')] as const
  await unpackFp8(...parts, 1, 2, out)
  const want = Array.from(values, (code, i) => bf16Bits(e4m3(code) * scales[i >> 1]!))
  expect(Array.from(await bits(out))).toEqual(want)
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
