import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, type OpCase, toF64 } from './case.ts'

type Shape = { T: number; K: number; H: number; missing?: number; scale?: number }

export const permute: OpCase<Shape> = {
  op: 'permute',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, K: 2, H: 8 },
    { T: 33, K: 3, H: 5, scale: 2 },
    { T: 20, K: 2, H: 16, missing: 3 }, // slots of experts that are no FFN
    { T: 4, K: 1, H: 4, missing: 1 }, //   no FFN expert at all
    { T: 0, K: 2, H: 4 },
  ],
  inputs: ({ T, K, H, missing = 0, scale = 1 }, random, dtype) => {
    const slots = Array.from({ length: T * K }, (_, s) => s)
    const kept = slots.filter((s) => missing === 0 || s % missing !== 0)
    const places = kept.map((_, row) => row).sort(() => random.uniform() - 0.5)
    return {
      x: random.tensor([T, H], dtype),
      rows: ints([T, K], (s) => places[kept.indexOf(s)] ?? -1),
      scale,
    }
  },
  async run(i, options) {
    const { out } = await kernels.permute(i, options)
    const end = i.rows.data.filter((row: number) => row >= 0).length // rows behind it are not written
    return { out: { ...out, data: out.data.subarray(0, end * i.x.shape[1]) } }
  },
  reference({ x, rows, scale }, { K, H }) {
    const xs = toF64(x)
    const out: number[] = []
    for (const [slot, row] of rows.data.entries())
      for (let h = 0; row >= 0 && h < H; h++)
        out[row * H + h] = scale * xs[Math.floor(slot / K) * H + h]!
    return { out: { exact: out } }
  },
  terms: () => 0,
  rejects: [
    [
      'a row beyond the output',
      'ERR_MOE_OPTION',
      'rows',
      (i) => ({ ...i, rows: ints(i.rows.shape, () => 99) }),
    ],
    [
      'rows of other tokens',
      'ERR_MOE_SHAPE',
      'rows',
      (i) => ({ ...i, rows: ints([1000, 1], () => 0) }),
    ],
  ],
}
