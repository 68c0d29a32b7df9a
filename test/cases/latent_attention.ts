import { arrayDType, kernels } from '../../lib/standalone/kernels.ts'
import { badPlaces } from '../support/bad_places.ts'
import { ints, type OpCase, reshape, toF64, unitRoundoff } from './case.ts'

type Shape = {
  lengths: [context: number, tokens: number][]
  N: number
  /** Of a query head, whose first R values are used. */
  D: number
  C: number
  R: number
  window?: number
}

const block = 32

const terms = ({ C, R, lengths }: Shape): number =>
  C + R + 4 + Math.max(0, ...lengths.map(([context]) => context))

export const latentAttention: OpCase<Shape> = {
  op: 'latent_attention',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { lengths: [[1, 1]], N: 1, D: 12, C: 16, R: 8 },
    {
      lengths: [
        [70, 1],
        [1, 1],
        [33, 1],
      ],
      ...{ N: 4, D: 24, C: 32, R: 8 },
    }, //     decode batch
    {
      lengths: [
        [40, 40],
        [70, 5],
        [32, 1],
      ],
      ...{ N: 6, D: 10, C: 24, R: 4 },
    }, //     prefill, chunk and decode mixed
    { lengths: [[100, 20]], N: 3, D: 7, C: 13, R: 6, window: 9 }, //         odd sizes in a window
    { lengths: [[1100, 1]], N: 16, D: 48, C: 96, R: 32 }, //                 several ranges
    {
      lengths: [
        [1300, 2],
        [5, 1],
        [515, 1],
      ],
      ...{ N: 9, D: 16, C: 32, R: 16, window: 700 },
    }, //     ranges before the window, tiles that end in the middle of a token
    { lengths: [[600, 70]], N: 8, D: 16, C: 32, R: 16 }, //                  many queries over ranges
    { lengths: [[150, 3]], N: 2, D: 192, C: 512, R: 64 },
    { lengths: [[40, 2]], N: 1, D: 64, C: 960, R: 64 },
    { lengths: [[9, 3]], N: 2, D: 4, C: 8, R: 0 }, //                        nothing is rotated
    { lengths: [], N: 1, D: 8, C: 8, R: 8 },
  ],
  inputs({ lengths, N, D, C, R, window = 1e9 }, random, dtype) {
    const M = Math.max(1, ...lengths.map(([context]) => Math.ceil(context / block)))
    const blocks = Math.max(1, M * lengths.length)
    const order = Array.from({ length: blocks }, (_, i) => i).sort(() => random.uniform() - 0.5)
    const positions = lengths.flatMap(([context, n]) =>
      Array.from({ length: n }, (_, i) => context - n + i),
    )
    const sequences = lengths.flatMap(([, n], s) => Array<number>(n).fill(s))
    const T = positions.length
    return {
      q: random.tensor([T, N * D], dtype),
      absorbed: random.tensor([T, N * C], dtype),
      heads: N,
      cache: random.tensor([blocks, block, C + R], dtype),
      positions: ints([T], (t) => positions[t]!),
      starts: ints([T], (t) => Math.max(0, positions[t]! - window + 1)),
      sequences: ints([T], (t) => sequences[t]!),
      blockTable: ints([lengths.length, M], (i) => order[i]!),
      scale: 1 / Math.sqrt(C + R),
    }
  },
  run: (i, options) => kernels.latentAttention(i, options),
  reference(i, shape) {
    const { N, D, C, R } = shape
    const [q, absorbed, cache] = [i.q, i.absorbed, i.cache].map(toF64) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ]
    const T = i.q.shape[0]
    // Matrix units take probabilities rounded to bf16.
    const rounding =
      arrayDType(i.q) === 'bf16' ? unitRoundoff.bf16 / unitRoundoff.f32 / terms(shape) : 0
    const M = i.blockTable.shape[1]
    const value = new Float64Array(T * N * C)
    const magnitude = new Float64Array(T * N * C)
    for (let t = 0; t < T; t++)
      for (let n = 0; n < N; n++) {
        const scores: { row: number; z: number }[] = []
        for (let s = i.starts.data[t]; s <= i.positions.data[t]; s++) {
          const b = i.blockTable.data[i.sequences.data[t] * M + Math.floor(s / block)]
          const row = (b * block + (s % block)) * (C + R)
          let z = 0
          for (let c = 0; c < C; c++) z += absorbed[(t * N + n) * C + c]! * cache[row + c]!
          for (let r = 0; r < R; r++) z += q[(t * N + n) * D + r]! * cache[row + C + r]!
          scores.push({ row, z: z * i.scale })
        }
        const top = Math.max(...scores.map(({ z }) => z))
        const total = scores.reduce((sum, { z }) => sum + Math.exp(z - top), 0)
        for (const { row, z } of scores)
          for (let c = 0; c < C; c++) {
            const term = (Math.exp(z - top) / total) * cache[row + c]!
            value[(t * N + n) * C + c]! += term
            magnitude[(t * N + n) * C + c]! += Math.abs(term) * (8 + rounding)
          }
      }
    return { out: { value, magnitude } }
  },
  terms,
  rejects: [
    ['heads that do not divide q', 'ERR_MOE_OPTION', 'heads', (i) => ({ ...i, heads: 1000 })],
    [
      'heads that do not make up a cache row',
      'ERR_MOE_OPTION',
      'absorbed',
      (i) => ({
        ...i,
        absorbed: { ...i.absorbed, data: i.absorbed.data.slice(0, i.heads), shape: [1, i.heads] },
      }),
    ],
    [
      'absorbed of another dtype',
      'ERR_MOE_DTYPE',
      'absorbed',
      (i) => ({ ...i, absorbed: ints(i.absorbed.shape, () => 0) }),
    ],
    [
      'a cache without blocks of 32',
      'ERR_MOE_SHAPE',
      'cache',
      (i) => ({ ...i, cache: reshape(i.cache, [1, 1, i.cache.data.length]) }),
    ],
    ...badPlaces,
  ],
}
