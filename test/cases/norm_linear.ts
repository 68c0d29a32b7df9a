import { kernels } from '../../lib/kernels.ts'
import { type DType, dot, fromBf16, type OpCase, output, reshape, toBf16, toF64 } from './case.ts'

type Shape = { T: number; H: number; N: number; stored?: DType; exact?: boolean }

const eps = 1e-5

export const normLinear: OpCase<Shape> = {
  op: 'norm_linear',
  dtypes: ['f32', 'bf16'],
  // Up to 4 tokens are one launch on a GPU, more are two.
  shapes: [
    ...[1, 3, 4, 5, 40].flatMap((T): Shape[] => [
      { T, H: 64, N: 70, stored: 'bf16', exact: true },
      { T, H: 35, N: 17 },
    ]),
    { T: 2, H: 400, N: 16, stored: 'bf16' },
    { T: 0, H: 8, N: 8 },
  ],
  inputs: ({ T, H, N, stored = 'f32', exact = false }, random, dtype) => ({
    x: random.tensor([T, H], 'f32'),
    normWeight: random.tensor([H], 'f32'),
    eps,
    weight: random.tensor([N, H], stored, 1 / Math.sqrt(H)),
    dtype,
    exact,
  }),
  run: (i, options) => kernels.normLinear(i, options),
  reference(i, { T, H, N }) {
    const [x, norm, weight] = [toF64(i.x), toF64(i.normWeight), toF64(i.weight)]
    const normed = new Float64Array(T * H)
    for (let t = 0; t < T; t++) {
      const at = (h: number) => x[t * H + h]!
      const [squares] = dot(H, at, at)
      for (let h = 0; h < H; h++)
        normed[t * H + h] = (at(h) / Math.sqrt(squares / H + eps)) * norm[h]!
    }
    const magnitude = normed.map((v) => 4 * Math.abs(v))
    // The projection reads the rounded rows; one near a tie may round the other way.
    const read = i.dtype === 'bf16' ? normed.map((v) => fromBf16(toBf16(v))) : normed
    return {
      normed: { value: normed, magnitude },
      ...(i.exact && { exact: { value: normed, magnitude } }),
      out: output(T * N, (at) => {
        const [t, n] = [Math.floor(at / N), at % N]
        return dot(
          H,
          (h) => read[t * H + h]!,
          (h) => weight[n * H + h]!,
        )
      }),
    }
  },
  terms: ({ H }) => H + 8,
  rejects: [
    [
      'a norm of another width',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, normWeight: reshape(i.normWeight, [1, i.normWeight.data.length]) }),
    ],
    [
      'a weight of another width',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({ ...i, weight: reshape(i.weight, [i.x.shape[1], i.weight.shape[0]]) }),
    ],
    ['a negative eps', 'ERR_MOE_OPTION', 'eps', (i) => ({ ...i, eps: -1 })],
  ],
}
