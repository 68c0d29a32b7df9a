import { arrayDType, kernels } from '../../lib/standalone/kernels.ts'
import { badPlaces } from '../support/bad_places.ts'
import { ints, type OpCase, reshape, toF64, unitRoundoff } from './case.ts'

type Shape = {
  lengths: [context: number, tokens: number][]
  N: number
  G: number
  D: number
  /** Width of a value where it is not D. */
  V?: number
  /** Sinks of this size. */
  sinks?: number
  window?: number
  /** Biases by distances up to this one, to both sides. */
  far?: number
  /** All tokens of a sequence see all of it. */
  both?: boolean
}

const block = 32

const terms = (D: number, lengths: Shape['lengths']): number =>
  D + 4 + Math.max(0, ...lengths.map(([context]) => context))

export const attention: OpCase<Shape> = {
  op: 'attention',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { lengths: [[1, 1]], N: 1, G: 1, D: 16 },
    {
      lengths: [
        [70, 1],
        [1, 1],
        [33, 1],
      ],
      N: 4,
      G: 2,
      D: 24,
    }, //       decode batch
    {
      lengths: [
        [40, 40],
        [70, 5],
        [32, 1],
      ],
      N: 6,
      G: 1,
      D: 10,
    }, //     prefill, chunk and decode mixed
    { lengths: [[100, 20]], N: 2, G: 2, D: 33, window: 9 }, //           sliding window, odd head size
    { lengths: [[65, 3]], N: 2, G: 1, D: 256, window: 33 },
    {
      lengths: [
        [9, 9],
        [50, 1],
        [75, 70],
        [40, 7],
      ],
      N: 2,
      G: 1,
      D: 24,
    }, //     runs of tokens over tiles, short ones between
    { lengths: [[150, 90]], N: 1, G: 1, D: 96, window: 70 },
    { lengths: [[80, 66]], N: 1, G: 1, D: 128 },
    { lengths: [[70, 65]], N: 1, G: 1, D: 256 },
    {
      lengths: [
        [300, 1],
        [5, 1],
        [515, 2],
      ],
      N: 4,
      G: 2,
      D: 96,
    }, //     keys in several ranges
    { lengths: [[400, 3]], N: 40, G: 1, D: 8, window: 150 }, //          ranges before the window
    {
      lengths: [
        [200, 1],
        [300, 12],
      ],
      N: 1,
      G: 1,
      D: 300,
    }, //     wider than a warp's load
    { lengths: [[40, 2]], N: 1, G: 1, D: 1024 },
    { lengths: [], N: 1, G: 1, D: 8 },
    {
      lengths: [
        [70, 1],
        [1, 1],
      ],
      ...{ N: 4, G: 2, D: 24, V: 16 },
    }, //     narrower values
    {
      lengths: [
        [40, 40],
        [70, 5],
        [300, 1],
      ],
      ...{ N: 4, G: 2, D: 24, V: 40 },
    }, //     wider values, in ranges and on matrix units
    { lengths: [[150, 20]], N: 2, G: 2, D: 13, V: 7 },
    { lengths: [[40, 9]], N: 2, G: 1, D: 192, V: 128 },
    { lengths: [[5, 1]], N: 2, G: 1, D: 10, V: 300 },
    { lengths: [[1, 1]], N: 2, G: 1, D: 8, sinks: 1 },
    {
      lengths: [
        [70, 1],
        [515, 2],
        [300, 1],
      ],
      ...{ N: 4, G: 2, D: 24, sinks: 3 },
    }, //     sinks before ranges
    { lengths: [[100, 80]], N: 2, G: 1, D: 64, sinks: 3 }, //            on matrix units
    { lengths: [[150, 90]], N: 2, G: 2, D: 24, V: 16, window: 9, sinks: 6 },
    { lengths: [[400, 3]], N: 8, G: 1, D: 64, window: 150, sinks: 6 },
    { lengths: [[1, 1]], N: 2, G: 2, D: 8, far: 3 },
    {
      lengths: [
        [40, 40],
        [3, 3],
        [70, 66],
      ],
      ...{ N: 3, G: 3, D: 16, far: 40, both: true },
    }, //     an encoder's, on matrix units, blocks inside and outside of the distances
    { lengths: [[300, 2]], N: 2, G: 2, D: 24, far: 128, both: true }, // in ranges
    {
      lengths: [
        [90, 1],
        [200, 1],
      ],
      ...{ N: 2, G: 1, D: 10, far: 20, sinks: 3 },
    }, //     a decoder's
    { lengths: [[75, 70]], N: 2, G: 2, D: 64, far: 0, window: 33 },
  ],
  inputs({ lengths, N, G, D, V = D, sinks, window = 1e9, far, both }, random, dtype) {
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
      keys: random.tensor([blocks, G, D, block], dtype),
      values: random.tensor([blocks, G, block, V], dtype),
      ...(sinks && { sinks: random.tensor([N], 'f32', sinks) }),
      positions: ints([T], (t) => positions[t]!),
      starts: ints([T], (t) => Math.max(0, positions[t]! - window + 1)),
      sequences: ints([T], (t) => sequences[t]!),
      blockTable: ints([lengths.length, M], (i) => order[i]!),
      ...(far !== undefined && { bias: random.tensor([N, 2 * far + 1]) }),
      ...(both && { ends: ints([T], (t) => lengths[sequences[t]!]![0] - 1) }),
      scale: 1 / Math.sqrt(D),
    }
  },
  run: (i, options) => kernels.attention(i, options),
  reference(i, { lengths, N, G, D, V = D, far }) {
    const [q, keys, values] = [i.q, i.keys, i.values].map(toF64) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ]
    const T = i.q.shape[0]
    // Matrix units take probabilities rounded to bf16.
    const rounding =
      arrayDType(i.q) === 'bf16' ? unitRoundoff.bf16 / unitRoundoff.f32 / terms(D, lengths) : 0
    const M = i.blockTable.shape[1]
    const value = new Float64Array(T * N * V)
    const magnitude = new Float64Array(T * N * V)
    for (let t = 0; t < T; t++)
      for (let n = 0; n < N; n++) {
        const head = Math.floor(n / (N / G))
        const at = (s: number) => {
          const b = i.blockTable.data[i.sequences.data[t] * M + Math.floor(s / block)]
          return { row: (b * G + head) * block, column: s % block }
        }
        const scores: { s: number; z: number }[] = []
        const own = i.positions.data[t]
        for (let s = i.starts.data[t]; s <= (i.ends ?? i.positions).data[t]; s++) {
          const { row, column } = at(s)
          let z = 0
          for (let d = 0; d < D; d++)
            z += q[(t * N + n) * D + d]! * keys[row * D + d * block + column]!
          z *= i.scale
          if (far !== undefined)
            z += i.bias.data[n * (2 * far + 1) + far + Math.min(far, Math.max(-far, s - own))]
          scores.push({ s, z })
        }
        const all = scores.map(({ z }) => z)
        if (i.sinks) all.push(i.sinks.data[n])
        const top = Math.max(...all)
        const total = all.reduce((sum, z) => sum + Math.exp(z - top), 0)
        for (const { s, z } of scores) {
          const { row, column } = at(s)
          const p = Math.exp(z - top) / total
          for (let d = 0; d < V; d++) {
            const term = p * values[(row + column) * V + d]!
            value[(t * N + n) * V + d]! += term
            // A score's error of (D + 2) u is an error of as many u in p; scores here stay below 8.
            magnitude[(t * N + n) * V + d]! += Math.abs(term) * (8 + rounding)
          }
        }
      }
    return { out: { value, magnitude } }
  },
  terms: ({ D, lengths }) => terms(D, lengths),
  rejects: [
    [
      'positions of another length',
      'ERR_MOE_SHAPE',
      'positions',
      (i) => ({ ...i, positions: ints([99], () => 0), starts: ints([99], () => 0) }),
    ],
    ...badPlaces,
    [
      'values of another shape',
      'ERR_MOE_SHAPE',
      'values',
      (i) => ({ ...i, values: reshape(i.values, [i.values.data.length]) }),
    ],
    [
      'sinks of another number of heads',
      'ERR_MOE_SHAPE',
      'sinks',
      (i) => ({ ...i, sinks: { data: new Float32Array(7), shape: [7] } }),
    ],
    [
      'sinks of integers',
      'ERR_MOE_DTYPE',
      'sinks',
      (i) => ({ ...i, sinks: ints([i.q.shape[1] / i.keys.shape[2]], () => 0) }),
    ],
    [
      'biases of another number of heads',
      'ERR_MOE_SHAPE',
      'bias',
      (i) => ({ ...i, bias: { data: new Float32Array(21), shape: [7, 3] } }),
    ],
    [
      'biases of an even number of distances',
      'ERR_MOE_OPTION',
      'bias',
      (i) => {
        const N = i.q.shape[1] / i.keys.shape[2]
        return { ...i, bias: { data: new Float32Array(2 * N), shape: [N, 2] } }
      },
    ],
    [
      'values that are too wide',
      'ERR_MOE_OPTION',
      'values',
      (i) => ({
        ...i,
        values: {
          ...i.values,
          data: new i.values.data.constructor(i.values.shape[0] * i.values.shape[1] * 32 * 1025),
          shape: [...i.values.shape.slice(0, 3), 1025],
        },
      }),
    ],
  ],
}
