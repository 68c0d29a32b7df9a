import { kernels } from '../../lib/standalone/kernels.ts'
import { type OpCase, output, reshape, toF64 } from './case.ts'
import { gemmOutput } from './linear.ts'

type Shape = {
  T: number
  N: number
  /** Of an input head, of which the last K are read. */
  D: number
  K: number
  O: number
  x?: 'f32' | 'bf16'
}

export const headLinear: OpCase<Shape> = {
  op: 'head_linear',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, N: 1, D: 64, K: 64, O: 64 },
    { T: 1, N: 4, D: 24, K: 16, O: 40, x: 'bf16' },
    { T: 3, N: 2, D: 17, K: 9, O: 70 }, //                     odd sizes
    { T: 5, N: 3, D: 33, K: 33, O: 130, x: 'bf16' },
    { T: 14, N: 2, D: 48, K: 32, O: 72 }, //                   tiles of rows on the CPU
    { T: 40, N: 3, D: 48, K: 32, O: 72, x: 'bf16' }, //        matrix units
    { T: 130, N: 2, D: 37, K: 24, O: 20, x: 'bf16' },
    { T: 70, N: 2, D: 192, K: 128, O: 16, x: 'bf16' },
    { T: 0, N: 2, D: 8, K: 8, O: 8 },
  ],
  inputs({ T, N, D, K, O, x = 'f32' }, random, dtype) {
    return {
      x: random.tensor([T, N * D], x),
      weights: Array.from({ length: N }, () => random.tensor([O, K], dtype, 1 / Math.sqrt(K))),
      dtype,
    }
  },
  run: (i, options) => kernels.headLinear(i, options),
  reference(i, { T, N, D, K, O }) {
    const x = toF64(i.x)
    const weights = i.weights.map(toF64)
    const read = Float64Array.from(
      { length: T * N * K },
      (_, at) => x[Math.floor(at / K) * D + D - K + (at % K)]!,
    )
    return {
      out: output(T * N * O, (at) => {
        const row = Math.floor(at / O)
        return gemmOutput(read, weights[row % N], [row, at % O], { K, N: O })
      }),
    }
  },
  terms: ({ K }) => K + 1,
  rejects: [
    [
      'heads that do not divide the row',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({
        ...i,
        x: { data: new Float32Array(65), shape: [1, 65] },
        weights: [i.weights[0], i.weights[0]],
      }),
    ],
    [
      'heads narrower than the weights',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({ ...i, x: { data: new Float32Array(2), shape: [1, 2] } }),
    ],
    ['no weights', 'ERR_MOE_OPTION', 'weights', (i) => ({ ...i, weights: [] })],
    [
      'weights of two shapes',
      'ERR_MOE_SHAPE',
      'weights',
      (i) => ({ ...i, weights: [...i.weights, { data: new Float32Array(64), shape: [1, 64] }] }),
    ],
    [
      'x of three dimensions',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({ ...i, x: reshape(i.x, [1, ...i.x.shape]) }),
    ],
  ],
}
