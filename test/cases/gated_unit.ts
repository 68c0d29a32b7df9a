import { gatedUnit as record } from '../../lib/ops/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type OpCase, onColumns, output, reshape, toF64 } from './case.ts'
import { gatedOutput, type Settings } from './linear.ts'

type Shape = { T: number; I: number; activation?: string; column?: number } & Settings

export const gatedUnit: OpCase<Shape> = {
  op: 'gated_unit',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, I: 64 },
    { T: 3, I: 31, activation: 'gegluTanh' },
    { T: 2, I: 1100, activation: 'gegluTanh' }, // more than a block's, and not of whole pieces
    { T: 5, I: 20, activation: 'swigluClamped', limit: 0.6, alpha: 3 },
    { T: 4, I: 12, activation: 'gegluTanh', column: 4 },
    { T: 2, I: 9, column: 3 },
    { T: 0, I: 8 },
  ],
  inputs: ({ T, I, activation = 'swiglu', column, limit, alpha }, random, dtype) => ({
    x: random.tensor([T, 2 * I], 'f32', 2),
    ...{ activation, dtype, column, limit, alpha },
  }),
  run: ({ column, ...i }, options) =>
    column === undefined ? kernels.gatedUnit(i, options) : onColumns(record, i, column, options),
  reference({ x, activation, limit, alpha }, { T, I }) {
    const xs = toF64(x)
    return {
      out: output(T * I, (i) => {
        const gate = Math.floor(i / I) * 2 * I + (i % I)
        const sum = (at: number) => [xs[at]!, Math.abs(xs[at]!)] as const
        return gatedOutput(activation, sum(gate), sum(gate + I), { limit, alpha })
      }),
    }
  },
  terms: () => 8,
  rejects: [
    [
      'an odd number of columns',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({ ...i, x: { ...reshape(i.x, [1, 127]), data: i.x.data.slice(1) } }),
    ],
    ['bf16', 'ERR_MOE_DTYPE', 'x', (i) => ({ ...i, x: as(i.x, 'bf16') })],
    [
      'one that is not gated',
      'ERR_MOE_OPTION',
      'activation',
      (i) => ({ ...i, activation: 'silu' }),
    ],
    ['a limit of 0', 'ERR_MOE_OPTION', 'limit', (i) => ({ ...i, limit: 0 })],
    ['integers made', 'ERR_MOE_DTYPE', 'dtype', (i) => ({ ...i, dtype: 'i32' })],
  ],
}
