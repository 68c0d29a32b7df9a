import type { ExpertKind } from '../../lib/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { as, dot, ints, type OpCase, output, reshape, toF64 } from './case.ts'

type Shape = {
  T: number
  K: number
  H: number
  kinds: ExpertKind[]
  scale?: number
  factor?: number
}

const all: ExpertKind[] = ['ffn', 'ffn', 'constant', 'constant', 'copy', 'zero']

export const combine: OpCase<Shape> = {
  op: 'combine',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, K: 2, H: 64, kinds: ['ffn', 'ffn'] },
    { T: 24, K: 2, H: 33, kinds: all },
    { T: 24, K: 3, H: 16, kinds: all, scale: 2 },
    { T: 9, K: 2, H: 40, kinds: all, scale: 2, factor: 0.22 },
    { T: 5, K: 4, H: 7, kinds: ['zero', 'copy', 'constant', 'zero'] }, // no FFN expert
    { T: 0, K: 2, H: 8, kinds: all },
  ],
  inputs({ T, K, H, kinds, scale = 1, factor = 1 }, random, dtype) {
    const C = kinds.filter((kind) => kind === 'constant').length
    const ids = ints([T, K], (i) => (Math.floor(i / K) * 3 + (i % K)) % kinds.length)
    let next = 0
    const rows = ints([T, K], (i) => (kinds[ids.data[i]!] === 'ffn' ? next++ : -1))
    return {
      expertOut: random.tensor([next + 1, H], dtype),
      rows,
      ids,
      weights: random.tensor([T, K]),
      residual: random.tensor([T, H]),
      x: random.tensor([T, H], dtype),
      ...(C > 0 && {
        constants: random.tensor([C, H]),
        gates: random.tensor([C, 2, H], 'f32', 1 / Math.sqrt(H)),
      }),
      kinds,
      scale,
      factor,
    }
  },
  run: (i, options) => kernels.combine(i, options),
  reference(i, { T, K, H }) {
    const [y, x] = [toF64(i.expertOut), toF64(i.x)]
    const constantOf = i.kinds.map(
      (_: ExpertKind, e: number) =>
        i.kinds.slice(0, e).filter((k: ExpertKind) => k === 'constant').length,
    )
    return {
      out: output(T * H, (n) => {
        const [t, h] = [Math.floor(n / H), n % H]
        let value = i.residual.data[n]
        let magnitude = Math.abs(value)
        for (let k = 0; k < K; k++) {
          const slot = t * K + k
          const e = i.ids.data[slot]
          const xs = i.scale * x[t * H + h]!
          let terms = [0]
          if (i.kinds[e] === 'ffn') terms = [y[i.rows.data[slot] * H + h]!]
          if (i.kinds[e] === 'copy') terms = [xs]
          if (i.kinds[e] === 'constant') {
            const c = constantOf[e]
            const gate = (row: number) =>
              dot(
                H,
                (j) => i.scale * x[t * H + j]!,
                (j) => i.gates.data[(2 * c + row) * H + j],
              )[0]
            const a1 = 1 / (1 + Math.exp(gate(1) - gate(0)))
            terms = [a1 * xs, (1 - a1) * i.constants.data[c * H + h]]
          }
          const weight = i.factor * i.weights.data[slot]
          for (const term of terms) {
            value += weight * term
            magnitude += 8 * Math.abs(weight * term) + Math.abs(weight * xs)
          }
        }
        return [value, magnitude]
      }),
    }
  },
  terms: ({ K, H }) => 4 * K + H + 5,
  rejects: [
    [
      'rows of another shape',
      'ERR_MOE_SHAPE',
      'rows',
      (i) => ({ ...i, rows: reshape(i.rows, [i.rows.data.length]) }),
    ],
    [
      'a row beyond expertOut',
      'ERR_MOE_OPTION',
      'rows',
      (i) => ({ ...i, rows: ints(i.rows.shape, () => 999) }),
    ],
    ['bf16 weights', 'ERR_MOE_DTYPE', 'weights', (i) => ({ ...i, weights: as(i.weights, 'bf16') })],
    [
      'an expert id without a kind',
      'ERR_MOE_OPTION',
      'ids',
      (i) => ({ ...i, ids: ints(i.ids.shape, () => 99) }),
    ],
    [
      'constant experts without their vectors',
      'ERR_MOE_OPTION',
      'constants',
      ({ constants, ...i }) => ({ ...i, kinds: i.kinds.map(() => 'constant') }),
    ],
    [
      'copy experts without x',
      'ERR_MOE_OPTION',
      'x',
      ({ x, ...i }) => ({ ...i, kinds: i.kinds.map(() => 'copy') }),
    ],
  ],
}
