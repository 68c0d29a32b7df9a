import { arrayDType } from '../../lib/standalone/kernels.ts'
import { type QuantizedName, quantizedFormats } from '../support/codes.ts'
import { type OpCase, toF64 } from './case.ts'
import { groupedGemm } from './grouped_gemm.ts'
import { linear } from './linear.ts'

// The same references as for plain weights, on the numbers that weights and rows are after quantisation: what is left is
// the rounding of a few sums.

const names = Object.keys(quantizedFormats) as QuantizedName[]

/** A case with each quantised format of its weights. */
function quantized(base: OpCase, field: 'weight' | 'weights', shapes: object[]): OpCase {
  const each = <T>(value: T | T[], change: (one: T) => T) =>
    Array.isArray(value) ? value.map(change) : change(value)
  return {
    ...base,
    shapes: shapes.flatMap((shape) => names.map((format) => ({ ...shape, format }))),
    onlyCpu: true, // a GPU rounds weights and no rows: test/cuda/packed.test.ts
    inputs(shape, random, dtype) {
      const inputs = base.inputs(shape, random, dtype)
      return {
        ...inputs,
        [field]: each(inputs[field], (one: object) => ({ ...one, format: shape.format })),
      }
    },
    reference(inputs, shape) {
      const { K, format } = shape as { K: number; format: QuantizedName }
      const { weight, rows } = quantizedFormats[format]
      const exact = {
        ...inputs,
        x: { ...inputs.x, exact: rows(toF64(inputs.x), K, arrayDType(inputs.x)) },
        [field]: each(inputs[field], (one: any) => ({
          ...one,
          exact: weight(toF64(one), K),
        })),
      }
      return base.reference(exact, shape)
    },
    rejects: [
      [
        'a format that is none',
        'ERR_MOE_DTYPE',
        'format',
        (i) => ({ ...i, [field]: each(i[field], (one: object) => ({ ...one, format: 'int5' })) }),
      ],
    ],
  }
}

const extras = { extras: true }

export const linearIntegers = quantized(linear, 'weight', [
  { T: 1, K: 256, N: 64 },
  { T: 1, K: 33, N: 7, ...extras },
  { T: 2, K: 130, N: 65, x: 'bf16' },
  { T: 3, K: 5, N: 130, activation: 'silu' },
  { T: 5, K: 384, N: 62, activation: 'swiglu', ...extras },
  { T: 7, K: 100, N: 64, activation: 'tanh' },
  { T: 29, K: 640, N: 70, x: 'bf16', ...extras },
  { T: 0, K: 8, N: 8 },
])

export const groupedIntegers = quantized(groupedGemm, 'weights', [
  { counts: [1, 0, 1], K: 64, N: 64 },
  { counts: [3, 1, 2], spare: 4, K: 17, N: 34, activation: 'swiglu' },
  { counts: [100, 7, 21], K: 160, N: 48, activation: 'silu', x: 'bf16' },
])
