import { kernels } from '../../lib/standalone/kernels.ts'
import { as, dot, type OpCase, output, silu, toF64 } from './case.ts'

type Shape = {
  T: number
  K: number
  N: number
  activation?: string
  /** Bias, residual, and both factors. */
  extras?: boolean
  scale?: number
  x?: 'f32' | 'bf16'
} & Settings

/** Settings of an activation. */
export type Settings = { limit?: number; alpha?: number }

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const geluTanh = (x: number) =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** Activations of one sum, with the most that their slope can be. */
const plain: { [name: string]: [f: (x: number) => number, slope: number] } = {
  none: [(x) => x, 1],
  sigmoid: [sigmoid, 0.25],
  tanh: [Math.tanh, 1],
  relu: [(x) => Math.max(x, 0), 1],
  silu: [silu, 1.1],
  geluTanh: [geluTanh, 1.13],
}

/** Functions of gate and up row, the product's factors first. */
const gatedBy: {
  [name: string]: (
    gate: number,
    up: number,
    settings: Required<Settings>,
  ) => [ofGate: number, ofUp: number, slope: number]
} = {
  swiglu: (gate, up) => [silu(gate), up, 1.1],
  gegluTanh: (gate, up) => [geluTanh(gate), up, 1.13],
  swigluClamped(gate, up, { limit, alpha }) {
    const g = Math.min(gate, limit)
    return [g * sigmoid(alpha * g), Math.max(-limit, Math.min(up, limit)) + 1, 1.1]
  },
}

export const isGated = (activation = 'none') => activation in gatedBy

type Sum = readonly [value: number, terms: number]

/** What a gated activation makes of two sums, and the sum of its absolute terms. */
export function gatedOutput(
  activation: string,
  [gate, gateTerms]: Sum,
  [up, upTerms]: Sum,
  { limit = 7, alpha = 1.702 }: Settings,
): [number, number] {
  const [ofGate, ofUp, slope] = gatedBy[activation]!(gate, up, { limit, alpha })
  const product = ofGate * ofUp
  // Errors of both factors.
  const errors = slope * gateTerms * Math.abs(ofUp) + Math.abs(ofGate) * upTerms
  return [product, errors + Math.abs(product)]
}

/** One output of a GEMM row and the sum of its absolute terms; of gate row n and up row n + N / 2 if it is gated. */
export function gemmOutput(
  x: Float64Array,
  w: Float64Array,
  [row, n]: [number, number],
  { K, N }: { K: number; N: number },
  activation = 'none',
  bias?: ArrayLike<number>,
  settings: Settings = {},
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
  const [value, terms] = sum(n)
  if (isGated(activation)) return gatedOutput(activation, [value, terms], sum(n + N / 2), settings)
  const [f, slope] = plain[activation]!
  const out = f(value)
  return [out, activation === 'none' ? terms : slope * terms + Math.abs(out)]
}

/** Bias before every activation, factors and residual after it, in every kernel that stores outputs. */
const activations = [...Object.keys(plain), ...Object.keys(gatedBy)]
const withExtras: Shape[] = activations.map((activation) => ({
  ...{ T: 2, K: 31, N: 66, activation, extras: true },
}))
const onMatrices: Shape[] = ['none', 'tanh', 'geluTanh', 'swigluClamped'].flatMap((activation) => [
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
    { T: 67, K: 64, N: 136, x: 'bf16', activation: 'swigluClamped', limit: 0.6, alpha: 3 },
    { T: 67, K: 64, N: 72, x: 'bf16', activation: 'gegluTanh' },
    { T: 67, K: 64, N: 72, x: 'bf16', activation: 'relu' },
    { T: 67, K: 64, N: 72, x: 'bf16', activation: 'sigmoid' },
    { T: 9, K: 64, N: 72, activation: 'swigluClamped', limit: 0.6, alpha: -1 },
    { T: 70, K: 64, N: 72, x: 'bf16', scale: 0.22 },
    { T: 3, K: 64, N: 1, scale: 12, activation: 'sigmoid' },
    { T: 0, K: 8, N: 8 },
    ...withExtras,
    ...onMatrices,
  ],
  inputs(shape, random, dtype) {
    const { T, K, N, activation = 'none', extras, x = 'f32', scale, limit, alpha } = shape
    return {
      x: random.tensor([T, K], x),
      weight: random.tensor([N, K], dtype, 1 / Math.sqrt(K)),
      activation,
      dtype,
      ...{ scale, limit, alpha },
      ...(extras && {
        bias: random.tensor([N]),
        rowScale: random.tensor([T, 1]),
        residual: random.tensor([T, isGated(activation) ? N / 2 : N]),
        scale: -0.7,
      }),
    }
  },
  run: (i, options) => kernels.linear(i, options),
  reference({ x, weight, activation, bias, rowScale, residual, ...settings }, { T, K, N }) {
    const [xs, w] = [toF64(x), toF64(weight)]
    const width = isGated(activation) ? N / 2 : N
    return {
      out: output(T * width, (i) => {
        const n = i % width
        const at: [number, number] = [Math.floor(i / width), n]
        const [value, terms] = gemmOutput(xs, w, at, { K, N }, activation, bias?.data, settings)
        const factor = (settings.scale ?? 1) * (rowScale?.data[at[0]] ?? 1)
        const added = residual?.data[i] ?? 0
        return [added + factor * value, Math.abs(added) + Math.abs(factor) * terms]
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
      'factors of other rows',
      'ERR_MOE_SHAPE',
      'rowScale',
      (i) => ({ ...i, rowScale: { data: new Float32Array(2), shape: [2, 1] } }),
    ],
    ['a limit of 0', 'ERR_MOE_OPTION', 'limit', (i) => ({ ...i, limit: 0 })],
    ['a scale that is none', 'ERR_MOE_OPTION', 'scale', (i) => ({ ...i, scale: Number.NaN })],
    [
      'a plain weight for a gated activation',
      'ERR_MOE_SHAPE',
      'weight',
      (i) => ({ ...i, activation: 'swigluClamped', weight: { ...i.weight, shape: [1, 64 * 64] } }),
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
