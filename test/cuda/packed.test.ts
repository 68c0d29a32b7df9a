import { describe, expect, it } from 'vitest'
import type { DeviceName } from '../../lib/index.ts'
import type { Tensor } from '../../lib/native.ts'
import * as ops from '../../lib/ops/index.ts'
import { type ArrayTensor, OneOp } from '../../lib/standalone/one_op.ts'
import { type DType, ints, Random, tensor, toF64 } from '../cases/case.ts'
import { type QuantizedName, quantizedFormats } from '../support/codes.ts'
import { someGpus } from '../support/gpus.ts'

// A GPU multiplies with weights as they are in bf16: kernels give the very bits that they give of such bf16 weights. What
// those kernels give is compared with f64 references in test/ops.test.ts.

const names = Object.keys(quantizedFormats) as QuantizedName[]

/** A weight [N, K] packed on the GPU, or as the bf16 numbers that it stands for. */
type Weigh = (shape: [N: number, K: number], gateUp?: boolean) => ReturnType<OneOp['weight']>
type Record = (one: OneOp, random: Random, weigh: Weigh) => Promise<{ [name: string]: Tensor }>

async function run(
  device: DeviceName,
  name: QuantizedName,
  packed: boolean,
  [record, deterministic]: [Record, boolean],
) {
  const one = new OneOp('test', { device, deterministic })
  const random = new Random(5)
  const weigh: Weigh = ([N, K], gateUp) => {
    const weight = random.tensor([N, K], 'f32', 1 / Math.sqrt(K))
    const exact = quantizedFormats[name].weight(toF64(weight), K)
    const plain = tensor([N, K], 'bf16', (i) => Math.fround(exact[i]!))
    return one.weight('weight', packed ? { ...weight, format: name } : plain, gateUp)
  }
  one.output(await record(one, random, weigh))
  const results = await one.run()
  await one.run() // captured
  return { results, launches: (await one.plan.time(1, 1)).launches }
}

type Shape = { T: number; K: number; N: number; x?: DType } & Pick<
  ops.LinearInputs,
  'activation' | 'dtype'
>

/** A projection, with all that it can do to its sums where no activation is asked for. */
const linear =
  ({ T, K, N, x = 'bf16', activation, ...settings }: Shape): Record =>
  async (one, random, weigh) => {
    const array = (shape: number[], dtype?: DType) => one.input('', random.tensor(shape, dtype))
    const extras = activation
      ? {}
      : { rowScale: array([T, 1]), residual: array([T, N]), scale: 0.3 }
    const gateUp = activation === 'swiglu'
    const fields = { x: array([T, K], x), weight: await weigh([N, K], gateUp), activation }
    return {
      out: ops.linear(one.plan, { ...fields, bias: array([N]), ...extras, ...settings }).out,
    }
  }

/** Experts with so many rows each, of tokens that chose `slots` of them, if they are gathered. */
const grouped =
  (counts: number[], K: number, N: number, x: DType, slots = 0): Record =>
  async (one, random, weigh) => {
    const offsets = counts.reduce((all, n) => [...all, all.at(-1)! + n], [0])
    const R = offsets.at(-1)!
    const rows = one.input('x', random.tensor([slots ? R / slots : R, K], x))
    const place = one.input(
      'rows',
      ints([R / (slots || 1), slots || 1], (i) => R - 1 - i),
    )
    const fields = {
      x: slots ? ops.permute(one.plan, { x: rows, rows: place }).out : rows,
      offsets: one.input(
        'offsets',
        ints([offsets.length], (i) => offsets[i]!),
      ),
      weights: await Promise.all(counts.map(() => weigh([N, K], true))),
      ...{ activation: 'swiglu' as const, dtype: 'bf16' as const },
    }
    return { out: ops.groupedGemm(one.plan, fields).out }
  }

const normed =
  (T: number, H: number, N: number, dtype: DType): Record =>
  async (one, random, weigh) => {
    const array = (shape: number[]) => one.input('', random.tensor(shape))
    const norm = { x: array([T, H]), weight: array([H]), eps: 1e-5, dtype }
    const x = ops.rmsNorm(one.plan, norm).out
    return { x, out: ops.linear(one.plan, { x, weight: await weigh([N, H]) }).out }
  }

/** What `route` does in one launch of plain weights. */
const routed: Record = async (one, random, weigh) => {
  const array = (shape: number[]) => one.input('', random.tensor(shape))
  const norm = { x: array([2, 64]), weight: array([64]), eps: 1e-5, dtype: 'bf16' as const }
  const x = ops.rmsNorm(one.plan, norm).out
  const logits = ops.linear(one.plan, { x, weight: await weigh([8, 64]) }).out
  const kinds = Array.from({ length: 8 }, () => 'ffn' as const)
  const { ids, weights } = ops.topK(one.plan, { logits, kinds, topK: 2, weights: 'scores' })
  return { logits, ids, weights }
}

const cases: [name: string, record: Record, deterministic?: boolean][] = [
  ['one row', linear({ T: 1, K: 256, N: 64 })],
  ['f32 rows', linear({ T: 3, K: 300, N: 70, x: 'f32' })],
  ['rows that are not aligned', linear({ T: 2, K: 33, N: 7, x: 'bf16' })],
  ['half a block', linear({ T: 8, K: 16, N: 64, x: 'bf16' })],
  ['two tiles of rows', linear({ T: 12, K: 1100, N: 20, x: 'bf16' })],
  ['four tiles of rows', linear({ T: 33, K: 160, N: 40, x: 'bf16' }), true],
  ['experts of few rows', grouped([1, 0, 2], 144, 34, 'bf16')],
  ['experts of f32 rows', grouped([3, 1], 40, 34, 'f32')],
  ['gathered rows', grouped([0, 1, 3, 2], 96, 34, 'bf16', 2)],
  ['a norm before it', normed(3, 168, 24, 'bf16')],
  ['a norm of f32 before it', normed(2, 56, 24, 'f32')],
  ['tiles', linear({ T: 70, K: 88, N: 130 })],
  ['tiles of rows that are not aligned', linear({ T: 20, K: 141, N: 66, activation: 'swiglu' })],
  ['slabs', linear({ T: 70, K: 448, N: 72 })],
  ['slabs in bf16', linear({ T: 300, K: 64, N: 136, activation: 'none', dtype: 'bf16' })],
  ['slabs of experts', grouped([40, 0, 1, 70], 192, 144, 'bf16')],
]

describe.each(someGpus)('packed weights on $name', ({ device }) => {
  it.each(names)('%s: the bits of bf16 weights, in as many launches', async (name) => {
    for (const [what, record, deterministic = false] of cases) {
      const packed = await run(device, name, true, [record, deterministic])
      expect(packed, what).toEqual(await run(device, name, false, [record, deterministic]))
      for (const { data } of Object.values(packed.results) as ArrayTensor[])
        expect(
          data.some((value) => value !== 0),
          what,
        ).toBe(true)
    }
  })

  it('routers of packed weights are not fused, and choose the same', async () => {
    const packed = await run(device, 'int8', true, [routed, false])
    const plain = await run(device, 'int8', false, [routed, false])
    expect(packed.results).toEqual(plain.results)
    expect([packed.launches, plain.launches]).toEqual([2, 1])
  })
})
