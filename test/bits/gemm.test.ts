import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { native } from '../../lib/native.ts'
import { activationNames } from '../../lib/ops/index.ts'
import { type ArrayTensor, kernels } from '../../lib/standalone/kernels.ts'
import { ints, Random } from '../cases/case.ts'
import { isGated } from '../cases/linear.ts'

// A row's bits do not depend on the rows beside it, nor on whether its expert's GEMM is one of a group.

const { isas, isa: best } = native().cpu()
const [T, K, N] = [23, 66, 140]
const formats = ['bf16', 'fp8', 'fp8g128'] as const

/** Rows from up to `to` of a matrix. */
const rows = (all: ArrayTensor, from: number, to: number): ArrayTensor => {
  const across = all.shape[1]!
  return { data: all.data.slice(from * across, to * across), shape: [to - from, across] }
}

describe.each(isas)('rows of a GEMM on cpu, %s kernels', (isa) => {
  beforeAll(() => native().selectIsa(isa))
  afterAll(() => native().selectIsa(best))

  const each = activationNames.map((name, i) => [name, formats[i % formats.length]!] as const)
  it.each(each)('alone and in a batch: %s, weights %s', async (activation, format) => {
    const random = new Random(17)
    const x = random.tensor([T, K], 'bf16')
    const weight = { ...random.tensor([N, K], 'bf16', 0.3), format }
    const bias = random.tensor([N])
    const rowScale = random.tensor([T, 1])
    const residual = random.tensor([T, isGated(activation) ? N / 2 : N])
    const settings = { activation, limit: 0.5, alpha: 2.5 }
    const run = async (from: number, to: number) => {
      const of = (all: ArrayTensor) => rows(all, from, to)
      const tensors = { x: of(x), weight, bias, rowScale: of(rowScale), residual: of(residual) }
      return (await kernels.linear({ ...tensors, ...settings, scale: 0.3 })).out
    }
    const all = await run(0, T)
    for (const [from, to] of [
      [0, 1],
      [1, 4],
      [4, 17],
      [22, 23],
    ] as const)
      expect((await run(from, to)).data).toEqual(rows(all, from, to).data)

    const { out } = await kernels.linear({ x, weight, bias, ...settings })
    const grouped = await kernels.groupedGemm({
      ...{ x, weights: [weight, weight], offsets: ints([3], (g) => [0, 5, T][g]!), ...settings },
      biases: { data: Float32Array.of(...bias.data, ...bias.data), shape: [2, N] },
    })
    expect(grouped.out).toEqual(out)
  })
})
