import { type ArrayTensor, kernels } from '../../lib/standalone/kernels.ts'
import { as, ints, type OpCase, output, reshape, tensor, toF64 } from './case.ts'

type Shape = {
  T: number
  S: number
  K: number
  /** Of each id, and in it of each part: the rank. */
  ranks: number[][]
  /** Outputs of each part, and where they begin. */
  sizes: number[]
  columns?: number[]
  width: number
  residual?: boolean
  weighted?: boolean
  epsilon?: number
  scale?: number
}

export const lora: OpCase<Shape> = {
  op: 'lora',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, S: 1, K: 64, ranks: [[4]], sizes: [32], width: 32 },
    { T: 9, S: 1, K: 33, ranks: [[8], [3], [0]], sizes: [7], width: 7, residual: true }, // rows that are no quads
    // q, k and v side by side; some without a pair, and columns of nobody
    {
      ...{ T: 6, S: 1, K: 40, sizes: [16, 8, 8], columns: [0, 20, 28], width: 40 },
      ...{
        ranks: [
          [2, 0, 9],
          [16, 4, 4],
        ] as number[][],
        scale: 0.5,
      },
    },
    // PHATGOOSE: two of some experts, divided by their sum and a bit
    {
      ...{ T: 12, S: 2, K: 300, ranks: [[4], [4], [4], [4], [4]], sizes: [1100], width: 1100 },
      ...{ residual: true, weighted: true, epsilon: 1e-2, scale: 2 },
    },
    { T: 3, S: 3, K: 8, ranks: [[1], [2]], sizes: [5], columns: [2], width: 9, weighted: true },
    { T: 2, S: 1, K: 8, ranks: [[0]], sizes: [5], width: 5 }, // nothing to add
    { T: 0, S: 1, K: 8, ranks: [[2]], sizes: [4], width: 4 },
  ],
  inputs(shape, random, dtype) {
    const { T, S, K, ranks, sizes, columns, width } = shape
    const { residual, weighted, epsilon, scale } = shape
    return {
      x: random.tensor([T, K], dtype),
      ids: ints([T, S], () => random.int(ranks.length + 1) - 1),
      ...(weighted && { weights: tensor([T, S], 'f32', () => random.uniform()) }),
      pairs: ranks.flatMap((of) =>
        of.map((r, p) => random.tensor([r, K + sizes[p]!], 'f32', 1 / Math.sqrt(K))),
      ),
      ...(columns && { columns }),
      ...(residual ? { residual: random.tensor([T, width]) } : { width }),
      ...(epsilon && { epsilon }),
      ...(scale && { scale }),
    }
  },
  run: (i, options) => kernels.lora(i, options),
  reference(i, { T, S, K, sizes, columns = [0], width }) {
    const [x, pairs] = [toF64(i.x), i.pairs.map(toF64)]
    const { scale = 1, epsilon = 0 } = i
    return {
      out: output(T * width, (n) => {
        const [t, column] = [Math.floor(n / width), n % width]
        let value = i.residual ? i.residual.data[n] : 0
        let magnitude = Math.abs(value)
        const p = columns.findIndex((c, at) => column >= c && column < c + sizes[at]!)
        if (p < 0) return [value, magnitude]
        const all = i.weights ? Array.from(i.weights.data.subarray(t * S, t * S + S)) : []
        const total = epsilon > 0 ? all.reduce((a: any, b: any) => a + b, epsilon) : 1
        for (let s = 0; s < S; s++) {
          const id = i.ids.data[t * S + s]
          if (id < 0) continue
          const pair = pairs[id * columns.length + p]!
          const pitch = K + sizes[p]!
          const factor = (scale * ((i.weights ? all[s] : 1) as number)) / (total as number)
          for (let j = 0; j < pair.length / pitch; j++)
            for (let k = 0; k < K; k++) {
              const b = pair[j * pitch + K + column - columns[p]!]!
              const term = factor * x[t * K + k]! * pair[j * pitch + k]! * b
              value += term
              magnitude += Math.abs(term)
            }
        }
        return [value, magnitude]
      }),
    }
  },
  terms: ({ S, K, ranks }) => K + S * (Math.max(...ranks.flat()) + 3),
  rejects: [
    [
      'ids of another shape',
      'ERR_MOE_SHAPE',
      'ids',
      (i) => ({ ...i, ids: reshape(i.ids, [i.ids.data.length]) }),
    ],
    [
      'an id without a pair',
      'ERR_MOE_OPTION',
      'ids',
      (i) => ({ ...i, ids: ints(i.ids.shape, () => 99) }),
    ],
    [
      'bf16 pairs',
      'ERR_MOE_DTYPE',
      'pairs',
      (i) => ({ ...i, pairs: i.pairs.map((pair: ArrayTensor) => as(pair, 'bf16')) }),
    ],
    ['no pairs', 'ERR_MOE_OPTION', 'pairs', (i) => ({ ...i, pairs: [] })],
    [
      'pairs of another width',
      'ERR_MOE_SHAPE',
      'pairs',
      (i) => ({ ...i, pairs: [{ data: new Float32Array(2), shape: [1, 2] }] }),
    ],
    [
      'a part beyond the output',
      'ERR_MOE_OPTION',
      'columns',
      (i) => ({
        ...i,
        columns: i.pairs.slice(0, 1).map(() => 1 << 20),
        pairs: i.pairs.slice(0, 1),
      }),
    ],
    [
      'a width beside a residual',
      'ERR_MOE_OPTION',
      'width',
      (i) => ({
        ...i,
        residual: { data: new Float32Array(2 * i.x.shape[0]), shape: [i.x.shape[0], 2] },
        width: 3,
      }),
    ],
    ['a negative epsilon', 'ERR_MOE_OPTION', 'epsilon', (i) => ({ ...i, epsilon: -1 })],
  ],
}
