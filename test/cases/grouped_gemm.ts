import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, type OpCase, output, type Random, tensor, toF64 } from './case.ts'
import { gemmOutput, isGated, type Settings } from './linear.ts'

type Shape = {
  counts: number[]
  spare?: number
  K: number
  N: number
  activation?: string
  x?: 'f32' | 'bf16'
  /** Slots a token: x is in token order and `rows` says where each slot goes. */
  slots?: number
  scale?: number
  biased?: boolean
} & Settings

const sums = (counts: number[]): number[] =>
  counts.reduce((all, n) => [...all, all.at(-1)! + n], [0])

export const groupedGemm: OpCase<Shape> = {
  op: 'grouped_gemm',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { counts: [1, 0, 1], K: 64, N: 64 }, //                                  decode, one expert without rows
    { counts: [0, 13, 0, 0], K: 32, N: 70, activation: 'swiglu' }, //        all rows on one expert
    { counts: [3, 1, 2], spare: 4, K: 17, N: 34, activation: 'swiglu' }, //  rows of zero-computation experts
    { counts: [100, 7, 21], K: 24, N: 48, activation: 'silu', x: 'bf16' },
    { counts: [0, 0], spare: 2, K: 8, N: 8 }, //                              nothing routed to FFN experts
    { counts: [0], K: 8, N: 8 },
    { counts: Array.from({ length: 300 }, (_, g) => (g % 99 ? 0 : 1)), K: 16, N: 8, x: 'bf16' },
    { counts: [30, 0, 1, 90], spare: 9, K: 64, N: 140, activation: 'swiglu', x: 'bf16' }, // matrix paths of a GPU
    { counts: [0, 270, 3], K: 128, N: 72, x: 'bf16' },
    {
      counts: [20, 40, 70, 100, 140, 170, 200, 250],
      K: 64,
      N: 72,
      activation: 'swiglu',
      x: 'bf16',
    },
    { counts: [20, 40, 70, 100, 140, 170, 200, 250], K: 64, N: 24, x: 'bf16' }, // every width of a tile
    { counts: [4400], K: 64, N: 12, x: 'bf16' }, // more tiles of rows than share a band of weights
    { counts: [17, 33, 65], K: 40, N: 130, activation: 'silu', x: 'bf16' },
    { counts: [0, 1, 0, 1], slots: 2, K: 64, N: 34, activation: 'swiglu', x: 'bf16' }, //  one token
    { counts: [3, 0, 34, 1, 0], spare: 2, slots: 2, K: 272, N: 20, x: 'bf16' }, // gathered in two goes
    { counts: [3, 0, 34, 3], slots: 2, K: 64, N: 72, x: 'bf16' }, // wgmma from 9 rows an expert on
    { counts: [4, 5], spare: 3, slots: 3, scale: 2, K: 24, N: 8 },
    { counts: [70, 0, 9], spare: 1, slots: 2, K: 64, N: 8, x: 'bf16' },
    ...['relu', 'swigluClamped'].flatMap((activation): Shape[] => [
      { counts: [1, 0, 2], K: 40, N: 66, activation, biased: true, limit: 0.7 },
      { counts: [0, 1, 0, 1], slots: 2, K: 64, N: 34, activation, biased: true, x: 'bf16' },
      { counts: [20, 0, 33], K: 40, N: 130, activation, biased: true, x: 'bf16' },
      { counts: [70, 0, 9, 180], K: 64, N: 144, activation, biased: true, x: 'bf16', limit: 0.7 },
    ]),
  ],
  inputs(
    { counts, spare = 0, K, N, activation = 'none', x = 'f32', slots, scale = 1, biased, limit },
    random: Random,
    dtype,
  ) {
    const offsets = sums(counts)
    const R = offsets.at(-1)! + spare
    const places = Array.from({ length: R }, (_, row) => (row < offsets.at(-1)! ? row : -1))
    places.sort(() => random.uniform() - 0.5)
    return {
      x: random.tensor([R / (slots ?? 1), K], x),
      ...(slots && { rows: ints([R / slots, slots], (s) => places[s]!), scale }),
      offsets: ints([offsets.length], (i) => offsets[i]!),
      weights: counts.map(() => random.tensor([N, K], dtype, 1 / Math.sqrt(K))),
      activation,
      ...(limit && { limit, alpha: 2.5 }),
      ...(biased && { biases: random.tensor([counts.length, N]) }),
      dtype,
    }
  },
  // Rows behind the last group are not written, so they are not looked at.
  async run(i, options) {
    const { out } = await kernels.groupedGemm(i, options)
    const rows = i.offsets.data.at(-1)!
    const width = out.shape[1]!
    return { out: { ...out, data: out.data.subarray(0, rows * width), shape: [rows, width] } }
  },
  reference({ x, rows, scale, offsets, weights, biases, activation, ...settings }, shape) {
    const { K, N, slots = 1 } = shape
    const given = toF64(x)
    const from = (row: number) => Math.floor(rows.data.indexOf(row) / slots) * K
    const xs = rows
      ? Float64Array.from(
          { length: offsets.data.at(-1)! * K },
          (_, i) => scale * given[from(Math.floor(i / K)) + (i % K)]!,
        )
      : given
    const ws = weights.map(toF64)
    const width = isGated(activation) ? N / 2 : N
    return {
      out: output(offsets.data.at(-1)! * width, (i) => {
        const row = Math.floor(i / width)
        const group = weights.findIndex((_: unknown, g: number) => row < offsets.data[g + 1])
        const bias = biases?.data.subarray(group * N, (group + 1) * N)
        return gemmOutput(xs, ws[group], [row, i % width], { K, N }, activation, bias, settings)
      }),
    }
  },
  terms: ({ K }) => K + 8,
  rejects: [
    [
      'offsets of another length',
      'ERR_MOE_SHAPE',
      'offsets',
      (i) => ({ ...i, offsets: ints([1], () => 0) }),
    ],
    [
      'offsets that descend',
      'ERR_MOE_OPTION',
      'offsets',
      (i) => ({ ...i, offsets: ints([i.weights.length + 1], (g) => (g === 1 ? 1 : 0)) }),
    ],
    [
      'offsets beyond the rows',
      'ERR_MOE_OPTION',
      'offsets',
      (i) => ({ ...i, offsets: ints([i.weights.length + 1], (g) => g * 1000) }),
    ],
    [
      'rows of other tokens',
      'ERR_MOE_SHAPE',
      'rows',
      (i) => ({ ...i, rows: ints([i.x.shape[0] + 1, 1], () => -1) }),
    ],
    [
      'biases of another number of experts',
      'ERR_MOE_SHAPE',
      'biases',
      (i) => ({ ...i, biases: { data: new Float32Array(64), shape: [1, 64] } }),
    ],
    [
      'bf16 biases',
      'ERR_MOE_DTYPE',
      'biases',
      (i) => ({ ...i, biases: tensor([i.weights.length, i.weights[0].shape[0]], 'bf16', () => 0) }),
    ],
    ['a limit below 0', 'ERR_MOE_OPTION', 'limit', (i) => ({ ...i, limit: -1 })],
    [
      'weights of two shapes',
      'ERR_MOE_SHAPE',
      'weights|out',
      (i) => ({
        ...i,
        weights: [...i.weights.slice(1), { data: new Float32Array(64), shape: [1, 64] }],
      }),
    ],
  ],
}
