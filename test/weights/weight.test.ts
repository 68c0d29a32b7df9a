import { describe, expect, it } from 'vitest'
import { native, type WeightFormat } from '../../lib/native.ts'
import { linear } from '../../lib/ops/index.ts'
import { gpus } from '../support/gpus.ts'

const { Weight, Device, Plan, Arena, tensorFrom, pack, fillRandom } = native()

/** Bytes of panels of 64 rows, or 32 gate rows beside 32 up rows, with K rounded up to `unit`. */
function bytes([N, K]: [number, number], format: WeightFormat, gateUp: boolean, unit: number) {
  const panels = gateUp ? Math.ceil(N / 2 / 32) : Math.ceil(N / 64)
  return panels * 64 * Math.ceil(K / unit) * unit * (format === 'bf16' ? 2 : 4)
}

const shapes: [N: number, K: number][] = [
  [64, 16],
  [130, 7],
  [2, 1],
  [66, 33],
  [0, 8],
]

// Of whole groups of k: [bytes of a group of 64 rows, of a panel beside its groups, k of a group].
const integers: [WeightFormat, group: number, beside: number, k: number][] = [
  ['int8', 8192, 256, 128],
  ['int8g128', 8192 + 128, 0, 128],
  ['int4g32', 1024 + 128, 0, 32],
  ['int4g128', 4096 + 128, 0, 128],
  ['int4g32z', 1024 + 128 + 64, 0, 32],
  ['int4g128z', 4096 + 128 + 64, 0, 128],
]

it.each(integers)('a weight in %s knows its bytes', (format, group, beside, k) => {
  for (const [N, K] of [
    [64, 128],
    [130, 7],
    [66, 300],
  ] as const) {
    const panel = Math.ceil(K / k) * group + beside
    expect(new Weight([N, K], format).bytes).toBe(Math.ceil(N / 64) * panel)
    expect(new Weight([N, K], format, true).bytes).toBe(Math.ceil(N / 64) * panel)
  }
  const unknown = () => new Weight([8, 8], 'int5' as WeightFormat)
  expect(unknown).toThrow(expect.objectContaining({ code: 'ERR_MOE_DTYPE' }))
})

describe.each<WeightFormat>(['f32', 'bf16'])('a weight in %s', (format) => {
  it.each(shapes)('[%i, %i] knows its bytes before it has them', (...shape) => {
    for (const gateUp of [false, true]) {
      const weight = new Weight(shape, format, gateUp)
      const expected = bytes(shape, format, gateUp, format === 'bf16' ? 2 : 1)
      expect(weight).toMatchObject({ shape, format, bytes: expected })
      if (gpus.length === 0 || process.env.MOE_TEST_DEVICE) continue
      const there = new Weight(shape, format, gateUp, new Device('cuda-sim', 0))
      expect(there).toMatchObject({ shape, format, bytes: bytes(shape, format, gateUp, 16) })
    }
  })

  it('is what was packed last, whatever was there', async () => {
    const [N, K] = [70, 5]
    const weight = new Weight([N, K], format)
    await fillRandom(weight, 0, 1, 7)
    await pack(weight, [[tensorFrom(new Float32Array(N * K).fill(3), [N, K], 'f32'), 0, N]])
    const rows = Float32Array.from({ length: N * K }, (_, i) => (i % 9) - 4)
    await pack(weight, [[tensorFrom(rows, [N, K], 'f32'), 0, N]])
    const plan = new Plan(new Arena())
    const x = tensorFrom(
      Float32Array.from({ length: K * K }, (_, i) => Number(i % (K + 1) === 0)),
      [K, K],
      'f32',
    )
    plan.output('out', linear(plan, { x, weight }).out)
    const { out } = await plan.run({}, 1)
    const transposed = Float32Array.from(
      { length: K * N },
      (_, i) => rows[(i % N) * K + Math.floor(i / N)]!,
    )
    expect(out).toEqual(transposed)
  })

  it('has memory again when it is filled after a release', async () => {
    const weight = new Weight([64, 16], format)
    await fillRandom(weight, 0, 1, 1)
    weight.release()
    weight.release()
    expect(weight.bytes).toBeGreaterThan(0)
    await fillRandom(weight, 0, 1, 1)
  })
})
