import { rmsNorm as record } from '../../lib/ops/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type DType, type OpCase, onColumns, output, reshape, toF64 } from './case.ts'

type Shape = {
  T: number
  H: number
  scale?: number
  /** Values normed by themselves; default the row. */
  D?: number
  x?: DType
  /** Where x begins in the rows of a wider tensor. */
  column?: number
}

export const rmsNorm: OpCase<Shape> = {
  op: 'rms_norm',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, H: 64 },
    { T: 5, H: 33 },
    { T: 3, H: 1 },
    { T: 40, H: 128 },
    { T: 0, H: 16 },
    { T: 2, H: 16, scale: 0 },
    { T: 3, H: 700, x: 'bf16' }, //              more than is widened at a time
    { T: 2, H: 33, x: 'bf16', column: 3 },
    { T: 5, H: 48, D: 16 }, //                   heads
    { T: 9, H: 256, D: 128, x: 'bf16', column: 8 },
    { T: 2, H: 30, D: 10, x: 'bf16', column: 3 }, // heads that are not aligned
    { T: 1, H: 900, D: 300, column: 4 },
    { T: 3, H: 4, D: 1 },
    { T: 0, H: 16, D: 8 },
  ],
  inputs: ({ T, H, scale = 1, D = H, x = 'f32', column }, random, dtype) => ({
    x: random.tensor([T, H], x, scale),
    weight: random.tensor([D]),
    eps: 1e-6,
    dtype,
    keepF32: true,
    column,
  }),
  run: ({ column, ...i }, options) =>
    column === undefined ? kernels.rmsNorm(i, options) : onColumns(record, i, column, options),
  reference({ x, weight, eps, dtype }, { T, H, D = H }) {
    const [xs, w] = [toF64(x), toF64(weight)]
    const inverses = Array.from({ length: (T * H) / D }, (_, run) => {
      const squares = xs.subarray(run * D, run * D + D).reduce((sum, v) => sum + v * v, 0)
      return 1 / Math.sqrt(squares / D + eps)
    })
    const out = output(T * H, (i) => {
      const value = xs[i]! * inverses[Math.floor(i / D)]! * w[i % D]!
      return [value, Math.abs(value)]
    })
    return { out, ...(dtype === 'bf16' && { exact: out }) }
  },
  terms: ({ H, D = H }) => D + 4,
  rejects: [
    [
      'a weight of two dimensions',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, weight: reshape(i.weight, [1, i.weight.data.length]) }),
    ],
    [
      'a weight that does not divide the row',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, weight: { data: new Float32Array(24), shape: [24] } }),
    ],
    [
      'a weight of no values',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, weight: { data: new Float32Array(), shape: [0] } }),
    ],
    ['a bf16 weight', 'ERR_MOE_DTYPE', 'weight', (i) => ({ ...i, weight: as(i.weight, 'bf16') })],
    ['a negative eps', 'ERR_MOE_OPTION', 'eps', (i) => ({ ...i, eps: -1 })],
    ['NaN for eps', 'ERR_MOE_OPTION', 'eps', (i) => ({ ...i, eps: Number.NaN })],
  ],
}
