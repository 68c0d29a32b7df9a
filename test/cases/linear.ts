import { kernels } from '../../lib/standalone/kernels.ts'
import { as, dot, type OpCase, output, silu, toF64 } from './case.ts'

type Shape = {
  T: number
  K: number
  N: number
  activation?: string
  /** Bias and residual. */
  extras?: boolean
  x?: 'f32' | 'bf16'
}

/** One output of a GEMM row and the sum of its absolute terms; for swiglu of gate row n and up row n + N / 2. */
export function gemmOutput(
  x: Float64Array,
  w: Float64Array,
  [row, n]: [number, number],
  { K, N }: { K: number; N: number },
  activation = 'none',
  bias?: ArrayLike<number>,
): [number, number] {
  const sum = (column: number): [number, number] => {
    const [value, terms] = dot(
      K,
      (k) => x[row * K + k]!,
      (k) => w[column * K + k]!,
    )
    const added = bias?.[column] ?? 0
    return [value + added, terms + Math.abs(added)]
  }
  if (activation === 'swiglu') {
    const [gate, gateTerms] = sum(n)
    const [up, upTerms] = sum(n + N / 2)
    // Errors of both factors: |silu'| <= 1.1.
    return [
      silu(gate) * up,
      1.1 * gateTerms * Math.abs(up) + Math.abs(silu(gate)) * upTerms + Math.abs(silu(gate) * up),
    ]
  }
  const [value, terms] = sum(n)
  if (activation === 'silu') return [silu(value), 1.1 * terms + Math.abs(silu(value))]
  if (activation === 'tanh') return [Math.tanh(value), terms + 1]
  return [value, terms]
}

/** Bias before every activation, residual after it, in every kernel that stores outputs. */
const withExtras: Shape[] = ['none', 'silu', 'tanh', 'swiglu'].flatMap((activation) => [
  { T: 2, K: 31, N: 66, activation, extras: true },
  { T: 1, K: 64, N: 72, activation, extras: true, x: 'bf16' },
  { T: 20, K: 40, N: 66, activation, extras: true, x: 'bf16' }, // neither rows nor outputs are aligned
  { T: 70, K: 64, N: 144, activation, extras: true, x: 'bf16' },
])

export const linear: OpCase<Shape> = {
  op: 'linear',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, K: 64, N: 64 },
    { T: 1, K: 33, N: 7 },
    { T: 2, K: 31, N: 65, extras: true },
    { T: 3, K: 16, N: 130 },
    { T: 4, K: 5, N: 64, activation: 'silu' },
    { T: 5, K: 24, N: 62, activation: 'swiglu' },
    { T: 6, K: 40, N: 96, activation: 'tanh' },
    { T: 7, K: 33, N: 128, activation: 'swiglu', x: 'bf16' },
    { T: 13, K: 64, N: 64, x: 'bf16', extras: true },
    { T: 200, K: 48, N: 100 },
    { T: 150, K: 128, N: 200, x: 'bf16', extras: true }, //    whole slabs: every matrix path of a GPU
    { T: 67, K: 192, N: 136, x: 'bf16', activation: 'swiglu' },
    { T: 300, K: 64, N: 70, x: 'bf16', activation: 'silu' }, // more than one tile of rows
    { T: 70, K: 88, N: 130, x: 'bf16' }, //                    a slab that ends early
    { T: 20, K: 37, N: 66, x: 'bf16', activation: 'swiglu' }, // rows that are not aligned
    { T: 0, K: 8, N: 8 },
    ...withExtras,
  ],
  inputs({ T, K, N, activation = 'none', extras, x = 'f32' }, random, dtype) {
    return {
      x: random.tensor([T, K], x),
      weight: random.tensor([N, K], dtype, 1 / Math.sqrt(K)),
      activation,
      dtype,
      ...(extras && {
        bias: random.tensor([N]),
        residual: random.tensor([T, activation === 'swiglu' ? N / 2 : N]),
      }),
    }
  },
  run: (i, options) => kernels.linear(i, options),
  reference({ x, weight, activation, bias, residual }, { T, K, N }) {
    const [xs, w] = [toF64(x), toF64(weight)]
    const width = activation === 'swiglu' ? N / 2 : N
    return {
      out: output(T * width, (i) => {
        const n = i % width
        const at: [number, number] = [Math.floor(i / width), n]
        const [value, magnitude] = gemmOutput(xs, w, at, { K, N }, activation, bias?.data)
        const added = residual?.data[i] ?? 0
        return [value + added, magnitude + Math.abs(added)]
      }),
    }
  },
  terms: ({ K }) => K + 8,
  rejects: [
    [
      'x of another width',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({ ...i, x: { data: new Float32Array(3), shape: [1, 3] } }),
    ],
    [
      'integers for x',
      'ERR_MOE_DTYPE',
      'x',
      (i) => ({ ...i, x: { data: new Int32Array(i.x.data.length), shape: i.x.shape } }),
    ],
    [
      'a bias of another length',
      'ERR_MOE_SHAPE',
      'bias',
      (i) => ({ ...i, bias: { data: new Float32Array(3), shape: [3] } }),
    ],
    [
      'a bf16 residual',
      'ERR_MOE_DTYPE',
      'residual',
      (i) => ({
        ...i,
        residual: as(
          {
            data: new Float32Array(i.x.shape[0] * i.weight.shape[0]),
            shape: [i.x.shape[0], i.weight.shape[0]],
          },
          'bf16',
        ),
      }),
    ],
    [
      'an unknown activation',
      'ERR_MOE_OPTION',
      'activation',
      (i) => ({ ...i, activation: 'gelu' }),
    ],
  ],
}
