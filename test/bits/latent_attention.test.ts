import { afterAll, describe, expect, it } from 'vitest'
import type { DeviceName } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'
import { blockTokens } from '../../lib/ops/index.ts'
import { type ArrayTensor, kernels } from '../../lib/standalone/kernels.ts'
import { ints, Random } from '../cases/case.ts'
import { someGpus } from '../support/gpus.ts'

const [N, D, R] = [4, 12, 8]
const { isas, isa: best } = native().cpu()
const places = [
  ...isas.map((isa) => ({ name: `cpu, ${isa}`, device: 'cpu' as DeviceName, isa })),
  ...someGpus.map(({ name, device }) => ({ name, device, isa: best })),
]

/** Token t of an array [T, width] alone. */
const row = (array: ArrayTensor, t: number): ArrayTensor => {
  const width = array.data.length / array.shape[0]!
  return {
    ...array,
    data: array.data.slice(t * width, (t + 1) * width),
    shape: [1, ...array.shape.slice(1)],
  }
}

// Few queries are cut into ranges that wait for each other, many walk them: the same sums.
describe.each(places)('bits of latent attention on $name', ({ device, isa }) => {
  afterAll(() => native().selectIsa(best))

  it.each(
    (['f32', 'bf16'] as const).flatMap((dtype) =>
      [1e9, 700].flatMap((window) => [16, 40].map((C) => ({ dtype, window, C }))),
    ),
  )('$dtype, window $window, $C latents: a token alone as among others', async (of) => {
    const { dtype, window, C } = of
    native().selectIsa(isa)
    const random = new Random(7)
    const [T, context] = [70, 1300]
    const M = Math.ceil(context / blockTokens)
    const position = (t: number) => context - T + t
    const all = {
      q: random.tensor([T, N * D], dtype),
      absorbed: random.tensor([T, N * C], dtype),
      positions: ints([T], position),
      starts: ints([T], (t) => Math.max(0, position(t) - window + 1)),
      sequences: ints([T], () => 0),
    }
    const fixed = {
      heads: N,
      cache: random.tensor([M, blockTokens, C + R], dtype),
      blockTable: ints([1, M], (i) => M - 1 - i),
      scale: 0.2,
    }
    const together = await kernels.latentAttention({ ...all, ...fixed }, { device })
    for (const t of [0, 37, T - 1]) {
      const own = Object.fromEntries(
        Object.entries(all).map(([name, array]) => [name, row(array, t)]),
      ) as typeof all
      const alone = await kernels.latentAttention({ ...own, ...fixed }, { device })
      expect(alone.out.data).toEqual(row(together.out, t).data)
    }
  })
})
