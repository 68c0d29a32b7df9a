import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type OpCase, output, reshape, toF64 } from './case.ts'

type Shape = { T: number; H: number; scale?: number }

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
  ],
  inputs: ({ T, H, scale = 1 }, random, dtype) => ({
    x: random.tensor([T, H], 'f32', scale),
    weight: random.tensor([H]),
    eps: 1e-6,
    dtype,
  }),
  run: (i, options) => kernels.rmsNorm(i, options),
  reference({ x, weight, eps }, { T, H }) {
    const [xs, w] = [toF64(x), toF64(weight)]
    return {
      out: output(T * H, (i) => {
        const row = xs.subarray(Math.floor(i / H) * H, Math.floor(i / H) * H + H)
        const mean = row.reduce((sum, v) => sum + v * v, 0) / H
        const value = (xs[i]! / Math.sqrt(mean + eps)) * w[i % H]!
        return [value, Math.abs(value)]
      }),
    }
  },
  terms: ({ H }) => H + 4,
  rejects: [
    [
      'a weight of another length',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, weight: reshape(i.weight, [1, i.weight.data.length]) }),
    ],
    ['a bf16 input', 'ERR_MOE_DTYPE', 'x', (i) => ({ ...i, x: as(i.x, 'bf16') })],
    ['a negative eps', 'ERR_MOE_OPTION', 'eps', (i) => ({ ...i, eps: -1 })],
    ['NaN for eps', 'ERR_MOE_OPTION', 'eps', (i) => ({ ...i, eps: Number.NaN })],
  ],
}
