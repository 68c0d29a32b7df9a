import { describe, expect, it } from 'vitest'
import { kernels } from '../../lib/standalone/kernels.ts'
import { failure } from '../support/files.ts'
import { gpus } from '../support/gpus.ts'

// What a kernel would read, write or divide by outside its tensors. A check that is missing ends this process.

const f = (...shape: number[]) => ({ data: new Float32Array(count(shape)), shape })
const z = (...shape: number[]) => ({ data: new Int32Array(count(shape)), shape })
const count = (shape: number[]) => shape.reduce((n, dim) => n * dim, 1)
const floats = (...values: number[]) => ({
  data: Float32Array.from(values),
  shape: [values.length],
  dtype: 'i32' as const,
})
const ints = (...values: number[]) => ({ data: Int32Array.from(values), shape: [values.length] })

const at = { positions: z(1), starts: z(1), sequences: z(1), blockTable: z(1, 1) }
const attention = (q: number[], keys: number[], values: number[], places: object = at) => [
  'attention',
  { q: f(...q), keys: f(...keys), values: f(...values), scale: 1, ...places },
]
const sample = (promptLength: number, offsets = [0, 2]) => [
  'sample',
  {
    logits: f(1, 8),
    vocabulary: 8,
    options: { data: Float32Array.of(1, 1, 0, 1, 1, 0), shape: [1, 6] },
    counts: { data: Int32Array.of(0, 1, 1, 0, promptLength), shape: [1, 5] },
    history: z(2),
    historyOffsets: ints(...offsets),
  },
]
const endless = { data: new Float32Array(0), shape: [2 ** 40, 0] }

describe.each([{ device: 'cpu' }, ...gpus.slice(0, 1)])('$device', ({ device }) => {
  it.each<[string, unknown[], string]>([
    ['ids in floats', ['embedding', { table: f(8, 8), ids: floats(1, 2) }], 'ERR_MOE_DTYPE'],
    ['rows in floats', ['gatherRows', { x: f(8, 8), rows: floats(3) }], 'ERR_MOE_DTYPE'],
    [
      'ids that are NaN',
      ['embedding', { table: f(8, 8), ids: floats(Number.NaN) }],
      'ERR_MOE_DTYPE',
    ],
    ['an id below', ['embedding', { table: f(8, 8), ids: ints(-1) }], 'ERR_MOE_OPTION'],
    ['an id above', ['embedding', { table: f(8, 8), ids: ints(8) }], 'ERR_MOE_OPTION'],
    ['a prompt before the history', sample(-1e6), 'ERR_MOE_OPTION'],
    ['a prompt just before the history', sample(-1), 'ERR_MOE_OPTION'],
    ['a prompt beyond the history', sample(3), 'ERR_MOE_OPTION'],
    ['a prompt where there is no history', sample(1, [0, 0]), 'ERR_MOE_OPTION'],
    ['no heads', attention([1, 8], [1, 0, 8, 32], [1, 0, 32, 8]), 'ERR_MOE_SHAPE'],
    ['heads of size 0', attention([1, 0], [1, 1, 0, 32], [1, 1, 32, 0]), 'ERR_MOE_SHAPE'],
    [
      'a block table of width 0',
      attention([1, 8], [1, 1, 8, 32], [1, 1, 32, 8], { ...at, blockTable: z(1, 0) }),
      'ERR_MOE_SHAPE',
    ],
    ['rows of nothing', ['rmsNorm', { x: endless, weight: f(0), eps: 1e-5 }], 'ERR_MOE_SHAPE'],
    ['rows of nothing to multiply', ['linear', { x: endless, weight: f(8, 0) }], 'ERR_MOE_OPTION'],
  ])('%s', async (_, [op, inputs], code) => {
    const run = (kernels as any)[op as string]
    const error = await failure(() => run(inputs, { device }))
    expect(error).toMatchObject({ name: 'MoeError', code })
  })

  it('what is shared or changed meanwhile is what it was at the call', async () => {
    const rows = new Int32Array(new SharedArrayBuffer(4))
    const weight = f(256, 256)
    const x = { data: new Float32Array(256).fill(1), shape: [1, 256] }
    const offsets = { data: new Int32Array([0, 1]), shape: [2] }
    const running = kernels.groupedGemm(
      { x, offsets, weights: [weight], rows: { data: rows, shape: [1, 1] } },
      { device } as any,
    )
    rows[0] = 1e9
    offsets.data[1] = 1e9
    expect((await running).out.shape).toEqual([1, 256])
  })

  it.each([
    ['Float64Array', new Float64Array(4)],
    ['BigInt64Array', new BigInt64Array(4)],
    ['DataView', new DataView(new ArrayBuffer(16))],
    ['a list', [0, 0, 0, 0]],
  ])('%s as data', async (_, data: any) => {
    const inputs = { x: { data, shape: [1, 4] }, weight: f(4), eps: 1 }
    const error = await failure(() => kernels.rmsNorm(inputs, { device } as any))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
  })

  it('no rows are no error', async () => {
    const { out } = await kernels.rmsNorm({ x: f(0, 4), weight: f(4), eps: 1 }, { device } as any)
    expect(out.shape).toEqual([0, 4])
  })
})
