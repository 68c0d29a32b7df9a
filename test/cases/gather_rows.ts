import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, type OpCase, toF64 } from './case.ts'

type Shape = { T: number; H: number; R: number }

export const gatherRows: OpCase<Shape> = {
  op: 'gather_rows',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, H: 8, R: 1 },
    { T: 9, H: 5, R: 20 },
    { T: 4, H: 3, R: 0 },
  ],
  inputs: ({ T, H, R }, random, dtype) => ({
    x: random.tensor([T, H], dtype),
    rows: random.ints([R], T),
  }),
  run: (i, options) => kernels.gatherRows(i, options),
  reference({ x, rows }, { H, R }) {
    const xs = toF64(x)
    return {
      out: {
        exact: Float64Array.from(
          { length: R * H },
          (_, i) => xs[rows.data[Math.floor(i / H)] * H + (i % H)]!,
        ),
      },
    }
  },
  terms: () => 0,
  rejects: [
    ['a row beyond x', 'ERR_MOE_OPTION', 'rows', (i) => ({ ...i, rows: ints([1], () => 99) })],
    [
      'rows of two dimensions',
      'ERR_MOE_SHAPE',
      'rows',
      (i) => ({ ...i, rows: ints([1, 1], () => 0) }),
    ],
  ],
}
