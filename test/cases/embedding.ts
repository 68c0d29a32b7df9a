import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type OpCase, toF64 } from './case.ts'

type Shape = { T: number; V: number; H: number; scale?: number }

export const embedding: OpCase<Shape> = {
  op: 'embedding',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, V: 5, H: 64 },
    { T: 9, V: 3, H: 33 },
    { T: 6, V: 9, H: 20, scale: 12.5 },
    { T: 0, V: 4, H: 8 },
  ],
  inputs: ({ T, V, H, scale = 1 }, random, dtype) => ({
    scale,
    table: random.tensor([V, H], dtype),
    ids: random.ints([T], V),
  }),
  run: (i, options) => kernels.embedding(i, options),
  reference({ table, ids, scale }, { T, H }) {
    const rows = toF64(table)
    return {
      out: {
        exact: Float64Array.from({ length: T * H }, (_, i) =>
          Math.fround(scale * rows[ids.data[Math.floor(i / H)] * H + (i % H)]!),
        ),
      },
    }
  },
  terms: () => 0,
  rejects: [
    ['ids that are not integers', 'ERR_MOE_DTYPE', 'ids', (i) => ({ ...i, ids: as(i.ids, 'f32') })],
    [
      'an id beyond the table',
      'ERR_MOE_OPTION',
      'ids',
      (i) => ({ ...i, ids: { ...i.ids, data: i.ids.data.map(() => 99) } }),
    ],
    [
      'a table of one dimension',
      'ERR_MOE_SHAPE',
      'table|shape',
      (i) => ({
        ...i,
        table: { ...i.table, shape: [i.table.data.length] },
        ids: { ...i.ids, data: i.ids.data.map(() => 0) },
      }),
    ],
  ],
}
