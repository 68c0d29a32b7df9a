import { kernels } from '../../lib/kernels.ts'
import type { ExpertKind } from '../../lib/ops/index.ts'
import { type DType, dot, fromBf16, type OpCase, reshape, toBf16, toF64 } from './case.ts'
import { chooseExperts } from './top_k.ts'

type Shape = {
  T: number
  H: number
  kinds: ExpertKind[]
  variant: 'softmax' | 'attention' | 'residual'
  stored?: DType
}

const ffn = (n: number): ExpertKind[] => Array<ExpertKind>(n).fill('ffn')
const moepp: ExpertKind[] = [...ffn(9), 'constant', 'constant', 'copy', 'zero']
const eps = 1e-5

/** Few tokens are one launch on a GPU, more are a launch for each part. */
const shapes: Shape[] = [1, 3, 8, 9, 20].flatMap((T) => [
  { T, H: 40, kinds: ffn(8), variant: 'softmax' },
  { T, H: 66, kinds: ffn(32), variant: 'attention', stored: 'bf16' },
  { T, H: 40, kinds: moepp, variant: 'residual' },
])

/**
 * Choices are compared exactly: these inputs leave no margin between experts that is below the logits' bound,
 * and no normed value so near a tie that it rounds to another bf16.
 */
export const route: OpCase<Shape> = {
  op: 'route',
  dtypes: ['f32', 'bf16'],
  shapes: [
    ...shapes,
    { T: 0, H: 8, kinds: ffn(4), variant: 'softmax' },
    { T: 2, H: 35, kinds: ffn(40), variant: 'softmax' },
  ],
  inputs({ T, H, kinds, variant, stored = 'f32' }, random, dtype) {
    const E = kinds.length
    const P = variant === 'attention' ? 3 * E : E
    return {
      x: random.tensor([T, H], 'f32'),
      normWeight: random.tensor([H], 'f32'),
      eps,
      dtype,
      weight: random.tensor([P, H], stored, 1 / Math.sqrt(H)),
      attention: variant === 'attention',
      ...(variant === 'residual' && {
        carried: {
          previous: random.tensor([T, E], 'f32'),
          gateMap: random.tensor([E, E], 'f32', 0.3),
        },
        normStd: 1,
        givesShare: kinds.map((kind) => kind === 'zero'),
      }),
      kinds,
      topK: 2,
      weights: 'renormalized' as const,
    }
  },
  run: (i, options) => kernels.route(i, options),
  reference(i, { T, H, kinds }) {
    const E = kinds.length
    const [x, norm, weight] = [toF64(i.x), toF64(i.normWeight), toF64(i.weight)]
    const normed = new Float64Array(T * H)
    for (let t = 0; t < T; t++) {
      const [squares] = dot(
        H,
        (h) => x[t * H + h]!,
        (h) => x[t * H + h]!,
      )
      for (let h = 0; h < H; h++)
        normed[t * H + h] = (x[t * H + h]! / Math.sqrt(squares / H + eps)) * norm[h]!
    }
    // The router reads the rounded rows.
    const read = i.dtype === 'bf16' ? normed.map((v) => fromBf16(toBf16(v))) : normed
    const P = weight.length / H
    const value = new Float64Array(T * E)
    const magnitude = new Float64Array(T * E)
    for (let t = 0; t < T; t++) {
      const projected = Array.from({ length: P }, (_, n) =>
        dot(
          H,
          (h) => read[t * H + h]!,
          (h) => weight[n * H + h]!,
        ),
      )
      for (let e = 0; e < E; e++) {
        if (i.attention) {
          const [q] = projected[e]!
          const top = Math.max(...projected.slice(E, 2 * E).map(([k]) => q * k))
          const mass = projected.slice(E, 2 * E).map(([k]) => Math.exp(q * k - top))
          const total = mass.reduce((a, b) => a + b, 0)
          const [mixed, size] = dot(
            E,
            (j) => mass[j]! / total,
            (j) => projected[2 * E + j]![0],
          )
          value[t * E + e] = mixed
          magnitude[t * E + e] = 16 * (size + projected[e]![1] + 1)
        } else {
          const map = i.carried && toF64(i.carried.gateMap)
          const previous = i.carried && toF64(i.carried.previous)
          const [sum, size] = map
            ? dot(
                E,
                (j) => map[e * E + j]!,
                (j) => previous![t * E + j]!,
              )
            : [0, 0]
          value[t * E + e] = projected[e]![0] + sum
          magnitude[t * E + e] = projected[e]![1] + size
        }
      }
    }
    return {
      normed: { value: normed, magnitude: normed.map((v) => 4 * Math.abs(v)) },
      logits: { value, magnitude },
      ...chooseExperts(value, T, i),
    }
  },
  terms: ({ H, kinds }) => H + kinds.length + 8,
  rejects: [
    [
      'a norm of another width',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, normWeight: reshape(i.normWeight, [1, 40]) }),
    ],
    ['a projection of another width', 'ERR_MOE_SHAPE', 'out', (i) => ({ ...i, attention: true })],
  ],
}
