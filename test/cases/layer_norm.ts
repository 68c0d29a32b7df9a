import { layerNorm as record } from '../../lib/ops/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type DType, type OpCase, onColumns, output, tensor, toF64 } from './case.ts'

type Shape = {
  T: number
  H: number
  x?: DType
  /** Where x begins in the rows of a wider tensor. */
  column?: number
  /** Values that are normed together; default H. */
  D?: number
  /** No bias. */
  plain?: boolean
  /** Added to x: statistics of numbers that are nearly equal. */
  shift?: number
}

export const layerNorm: OpCase<Shape> = {
  op: 'layer_norm',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, H: 64 },
    { T: 5, H: 33 },
    { T: 3, H: 1 },
    { T: 40, H: 128, x: 'bf16' },
    { T: 3, H: 1500 },
    { T: 2, H: 700, x: 'bf16', column: 3 },
    { T: 4, H: 64, column: 4 },
    { T: 2, H: 256, shift: 100 },
    { T: 5, H: 60, D: 12 },
    { T: 3, H: 66, D: 33, plain: true, column: 2 },
    { T: 4, H: 32, plain: true, x: 'bf16' },
    { T: 0, H: 16 },
  ],
  inputs: ({ T, H, D = H, plain, x = 'f32', column, shift = 0 }, random, dtype) => ({
    x: tensor([T, H], x, () => shift + random.normal()),
    weight: random.tensor([D]),
    ...(!plain && { bias: random.tensor([D]) }),
    eps: 1e-5,
    dtype,
    column,
  }),
  run: ({ column, ...i }, options) =>
    column === undefined ? kernels.layerNorm(i, options) : onColumns(record, i, column, options),
  reference({ x, weight, bias, eps }, { T, H, D = H }) {
    const [xs, w] = [toF64(x), toF64(weight)]
    const b = bias ? toF64(bias) : new Float64Array(D)
    const rows = Array.from({ length: (T * H) / D }, (_, r) => {
      const row = xs.subarray(r * D, r * D + D)
      const mean = row.reduce((sum, v) => sum + v, 0) / D
      const size = row.reduce((sum, v) => sum + Math.abs(v), 0) / D
      const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / D
      return { mean, size, inverse: 1 / Math.sqrt(variance + eps) }
    })
    return {
      out: output(T * H, (i) => {
        const { mean, size, inverse } = rows[Math.floor(i / D)]!
        const centred = Math.abs(xs[i]! - mean)
        const value = (xs[i]! - mean) * inverse * w[i % D]! + b[i % D]!
        // What the mean's own error moves, directly and through the variance.
        const moved = (Math.abs(xs[i]!) + size) * (1 + centred * inverse)
        const factor = Math.abs(inverse * w[i % D]!)
        return [value, factor * (moved + centred) + Math.abs(b[i % D]!)]
      }),
    }
  },
  terms: ({ H }) => H + 5,
  rejects: [
    [
      'a weight of another length',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, weight: { ...i.bias, data: i.bias.data.slice(1), shape: [63] } }),
    ],
    [
      'a bias of another length',
      'ERR_MOE_SHAPE',
      'bias',
      (i) => ({ ...i, bias: { ...i.bias, data: i.bias.data.slice(1), shape: [63] } }),
    ],
    ['a bf16 bias', 'ERR_MOE_DTYPE', 'bias', (i) => ({ ...i, bias: as(i.bias, 'bf16') })],
    ['a negative eps', 'ERR_MOE_OPTION', 'eps', (i) => ({ ...i, eps: -1 })],
  ],
}
