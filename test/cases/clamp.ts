import { clamp as record } from '../../lib/ops/index.ts'
import { arrayDType, kernels } from '../../lib/standalone/kernels.ts'
import { fromBf16, type OpCase, onColumns, toBf16, toF64 } from './case.ts'

type Shape = { T: number; H: number; limit: number; column?: number; nan?: boolean }

export const clamp: OpCase<Shape> = {
  op: 'clamp',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, H: 64, limit: 1 },
    { T: 5, H: 33, limit: 0.7 }, // no bf16: rounded as any other result
    { T: 3, H: 40, limit: 0.5, column: 8 },
    { T: 2, H: 31, limit: 0.5, column: 3 },
    { T: 2, H: 8, limit: 1, nan: true },
    { T: 0, H: 16, limit: 1 },
  ],
  inputs({ T, H, limit, column, nan }, random, dtype) {
    const x = random.tensor([T, H], dtype)
    if (nan) x.data[3] = dtype === 'f32' ? Number.NaN : 0x7fc0
    return { x, limit, column }
  },
  async run({ column, ...i }, options) {
    if (column === undefined) return kernels.clamp(i, options)
    const { wide } = await onColumns(record, i, column, options)
    const [T, H] = i.x.shape
    const width = wide!.shape[1]!
    const rows = Array.from({ length: T }, (_, t) =>
      wide!.data.slice(t * width + column, t * width + column + H),
    )
    const data = i.x.data.slice()
    for (const [t, row] of rows.entries()) data.set(row, t * H)
    return { x: { ...i.x, data } }
  },
  reference({ x, limit }) {
    const round = arrayDType(x) === 'bf16' ? (v: number) => fromBf16(toBf16(v)) : Math.fround
    return {
      x: {
        exact: toF64(x).map((v) => round(Math.min(Math.max(v, -limit), limit))),
      },
    }
  },
  terms: () => 0,
  rejects: [
    ['a limit of 0', 'ERR_MOE_OPTION', 'limit', (i) => ({ ...i, limit: 0 })],
    ['NaN for a limit', 'ERR_MOE_OPTION', 'limit', (i) => ({ ...i, limit: Number.NaN })],
    ['a list', 'ERR_MOE_SHAPE', 'x', (i) => ({ ...i, x: { ...i.x, shape: [i.x.data.length] } })],
    [
      'integers',
      'ERR_MOE_DTYPE',
      'x',
      (i) => ({ ...i, x: { data: new Int32Array(i.x.data.length), shape: i.x.shape } }),
    ],
  ],
}
