import { describe, expect, it } from 'vitest'
import { blockTokens } from '../../lib/ops/index.ts'
import { type ArrayTensor, kernels } from '../../lib/standalone/kernels.ts'
import { attention } from '../cases/attention.ts'
import { type DType, ints, Random, tensor, toF64 } from '../cases/case.ts'
import { gpus, someGpus } from '../support/gpus.ts'

const [N, G, D, V] = [2, 1, 16, 24]

/** Decode tokens of sequences of these lengths, with `spare` columns of the block table behind the longest. */
function step(lengths: number[], dtype: DType, { window = 1e9, spare = 0 } = {}) {
  const T = lengths.length
  const M = Math.ceil(Math.max(...lengths) / blockTokens) + spare
  const starts = lengths.map((_, t) => lengths.slice(0, t).reduce((n, l) => n + blocksOf(l), 0))
  const blocks = starts.at(-1)! + blocksOf(lengths.at(-1)!)
  // A sequence's numbers depend on its length alone, wherever its blocks and its token stand.
  const perSequence = (seed: number, count: (length: number) => number, shape: number[]) => {
    const all = lengths.flatMap((length) => {
      const random = new Random(1000 * length + seed)
      return Array.from({ length: count(length) }, () => random.normal())
    })
    return tensor(shape, dtype, (i) => all[i]!)
  }
  const cache = (seed: number, shape: [number, number, number]) =>
    perSequence(seed, (length) => blocksOf(length) * shape[0] * shape[1] * shape[2], [
      blocks,
      ...shape,
    ])
  return {
    q: perSequence(3, () => N * D, [T, N * D]),
    keys: cache(1, [G, D, blockTokens]),
    values: cache(2, [G, blockTokens, V]),
    sinks: tensor([N], 'f32', (n) => 2 - n),
    positions: ints([T], (t) => lengths[t]! - 1),
    starts: ints([T], (t) => Math.max(0, lengths[t]! - window)),
    sequences: ints([T], (t) => t),
    blockTable: ints([T, M], (i) => {
      const [t, block] = [Math.floor(i / M), i % M]
      return block < blocksOf(lengths[t]!) ? starts[t]! + block : 0
    }),
    scale: 1 / Math.sqrt(D),
  }
}

const blocksOf = (length: number): number => Math.ceil(length / blockTokens)

describe.each(someGpus)('bits of a decode token on $name', ({ device }) => {
  const row = async (lengths: number[], t: number, dtype: DType, options = {}) => {
    const { out } = await kernels.attention(step(lengths, dtype, options), { device })
    return Array.from(out.data.subarray(t * N * V, (t + 1) * N * V))
  }
  const cases = [5, 64, 700, 4200].flatMap((length) =>
    [1e9, 300].flatMap((window) =>
      (['f32', 'bf16'] as const).map((dtype) => ({ length, window, dtype })),
    ),
  )

  it.each(cases)('$length keys, window $window, $dtype', async ({ length, window, dtype }) => {
    const alone = await row([length], 0, dtype, { window })
    expect(new Set(alone).size).toBeGreaterThan(D)
    const others = (n: number) => Array.from({ length: n }, (_, i) => 3 + 7 * i)
    // A wider table, a few tokens beside it, and so many that one block has all ranges of a token.
    expect(await row([length], 0, dtype, { window, spare: 1000 })).toEqual(alone)
    expect(await row([9, length, 400], 1, dtype, { window })).toEqual(alone)
    expect(await row([...others(40), length, ...others(30)], 40, dtype, { window })).toEqual(alone)
  })
})

const shapes: (typeof attention.shapes)[number][] = [
  { lengths: [[80, 66]], N: 2, G: 1, D: 24 },
  {
    lengths: [
      [70, 60],
      [60, 3],
    ],
    N: 2,
    G: 1,
    D: 24,
    V: 16,
    window: 9,
    sinks: 3,
  },
  {
    lengths: [
      [100, 1],
      [90, 2],
      [60, 12],
    ],
    N: 2,
    G: 1,
    D: 24,
    window: 40,
  },
]
const place = 50

// What differs among the simulator's devices is not in question here.
const places = [{ name: 'cpu', device: 'cpu' as const }, ...gpus.slice(0, 1)]

describe.each(places)('a key and a value that are NaN, on $name', ({ device }) => {
  it.each(['f32', 'bf16'] as const)('reach nobody who does not see them: %s', async (dtype) => {
    for (const shape of shapes) {
      const inputs = attention.inputs(shape, new Random(4), dtype)
      const [, , columns, width] = inputs.values.shape as [number, number, number, number]
      const block = inputs.blockTable.data[Math.floor(place / columns)]
      /** NaN in one column of that block. */
      const damaged = (array: ArrayTensor, columnOf: (i: number) => number) => {
        const numbers = toF64(array)
        const size = numbers.length / array.shape[0]!
        const isThere = (i: number) =>
          Math.floor(i / size) === block && columnOf(i) % columns === place % columns
        return tensor(array.shape, dtype, (i) => (isThere(i) ? Number.NaN : numbers[i]!))
      }
      const keys = damaged(inputs.keys, (i) => i)
      const values = damaged(inputs.values, (i) => Math.floor(i / width))
      const { out } = await kernels.attention(inputs, { device })
      const hurt = (await kernels.attention({ ...inputs, keys, values }, { device })).out
      const [wanted, got] = [out, hurt].map(toF64) as [Float64Array, Float64Array]
      const row = out.shape[1]!
      for (const [t, position] of inputs.positions.data.entries()) {
        const start = inputs.starts.data[t]
        const sees = inputs.sequences.data[t] === 0 && start <= place && place <= position
        const at = [t * row, (t + 1) * row] as const
        expect(got.subarray(...at), `token ${t}`).toEqual(
          sees ? new Float64Array(row).fill(Number.NaN) : wanted.subarray(...at),
        )
      }
    }
  })
})
