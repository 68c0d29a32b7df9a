import type { ExpertKind } from '../../lib/index.ts'
import { kernels } from '../../lib/kernels.ts'
import { ints, type OpCase, toF64 } from './case.ts'

type Shape = { T: number; K: number; H: number; kinds: ExpertKind[]; only?: number; scale?: number }

const ffn = (n: number): ExpertKind[] => Array<ExpertKind>(n).fill('ffn')

export const permute: OpCase<Shape> = {
  op: 'permute',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, K: 2, H: 8, kinds: ffn(4) },
    { T: 33, K: 3, H: 5, kinds: ffn(7), scale: 2 },
    { T: 20, K: 2, H: 16, kinds: [...ffn(3), 'constant', 'constant', 'copy', 'zero'] },
    { T: 20, K: 2, H: 3, kinds: ['zero', 'ffn', 'copy', 'ffn', 'constant'] }, // any order
    { T: 6, K: 1, H: 4, kinds: ffn(3), only: 1 }, //                             one expert takes all
    { T: 4, K: 1, H: 4, kinds: ['zero', 'copy'], only: 1 }, //                   no FFN expert at all
    { T: 0, K: 2, H: 4, kinds: ffn(3) },
  ],
  inputs: ({ T, K, H, kinds, only, scale = 1 }, random, dtype) => ({
    x: random.tensor([T, H], dtype),
    // Distinct experts a token, as routers give them.
    ids: ints([T, K], (i) => only ?? (Math.floor(i / K) * 5 + (i % K)) % kinds.length),
    kinds,
    scale,
  }),
  async run(i, options) {
    const { permuted, offsets, rows } = await kernels.permute(i, options)
    const end = offsets.data.at(-1)! // rows behind it are not written
    return {
      permuted: { ...permuted, data: permuted.data.subarray(0, end * i.x.shape[1]) },
      offsets,
      rows,
    }
  },
  reference({ x, ids, kinds, scale }, { T, K, H }) {
    const xs = toF64(x)
    const groups: number[] = kinds
      .map((kind: ExpertKind, e: number) => (kind === 'ffn' ? e : -1))
      .filter((e: number) => e >= 0)
    const rows = new Array<number>(T * K).fill(-1)
    const offsets = [0]
    const permuted: number[] = []
    for (const e of groups) {
      for (let s = 0; s < T * K; s++) {
        if (ids.data[s] !== e) continue
        rows[s] = permuted.length / H
        for (let h = 0; h < H; h++) permuted.push(scale * xs[Math.floor(s / K) * H + h]!)
      }
      offsets.push(permuted.length / H)
    }
    return { permuted: { exact: permuted }, offsets: { exact: offsets }, rows: { exact: rows } }
  },
  terms: () => 0,
  rejects: [
    [
      'an expert id without a kind',
      'ERR_MOE_OPTION',
      'ids',
      (i) => ({ ...i, ids: ints(i.ids.shape, () => 99) }),
    ],
    [
      'ids of other tokens',
      'ERR_MOE_SHAPE',
      'ids',
      (i) => ({ ...i, ids: ints([1000, 1], () => 0) }),
    ],
  ],
}
