import { describe, expect, it } from 'vitest'
import { blockTokens } from '../../lib/ops/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { type DType, ints, Random, tensor } from '../cases/case.ts'
import { gpus } from '../support/gpus.ts'

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

describe.each(gpus)('bits of a decode token on $name', ({ device }) => {
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
