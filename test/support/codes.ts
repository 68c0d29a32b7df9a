import type { DType } from '../../lib/native.ts'
import {
  groups,
  type IntegerName,
  integerFormats,
  largest,
  quantizedRows,
  quantizedWeight,
} from './integers.ts'
import { e4m3 } from './weights.ts'

// Weights of 4- and 8-bit floats, from their definitions: OCP Microscaling Formats v1.0, and E4M3 of arXiv:2209.05433.

const f32 = Math.fround
const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
const e4m3s = Array.from({ length: 127 }, (_, code) => e4m3(code))

/** The nearest of ascending magnitudes, ties to the even place; the last for what is larger. */
function nearestOf(magnitudes: readonly number[], value: number): number {
  const size = Math.abs(value)
  const above = magnitudes.findIndex((magnitude) => magnitude >= size)
  if (above <= 0) return above === 0 ? 0 : Math.sign(value) * magnitudes.at(-1)!
  const [low, high] = [magnitudes[above - 1]!, magnitudes[above]!]
  const middle = (low + high) / 2
  return Math.sign(value) * (size > middle || (size === middle && above % 2 === 0) ? high : low)
}

/** What the weights [N, K] become in MXFP4. */
function mxfp4Weight(weight: Float64Array, K: number): Float64Array {
  const out = Float64Array.from(weight)
  groups(out, K, 32, (part) => {
    const most = largest(part)
    const unit = most === 0 ? 1 : 2 ** (Math.floor(Math.log2(most)) - 2)
    for (const [i, value] of part.entries()) part[i] = unit * nearestOf(e2m1, value / unit)
  })
  return out
}

/** In FP8 with a scale for each `group` of k. */
function fp8Weight(weight: Float64Array, K: number, group: number): Float64Array {
  const out = Float64Array.from(weight)
  groups(out, K, group, (part) => {
    const scale = f32(largest(part) / 448)
    for (const [i, value] of part.entries())
      part[i] = scale === 0 ? 0 : f32(scale * nearestOf(e4m3s, f32(value / scale)))
  })
  return out
}

export interface QuantizedFormat {
  /** What weights [N, K] become. */
  weight(values: Float64Array, K: number): Float64Array
  /** What rows [T, K] become as activations. */
  rows(values: Float64Array, K: number, dtype: DType): Float64Array
}

const integers = Object.entries(integerFormats).map(([name, layout]): [string, QuantizedFormat] => [
  name,
  {
    weight: (values, K) => quantizedWeight(values, K, layout),
    rows: (values, K) => quantizedRows(values, K, layout.group),
  },
])

export type QuantizedName = IntegerName | 'mxfp4' | 'fp8' | 'fp8g128'

/** Every format that is more than elements. */
export const quantizedFormats = {
  ...(Object.fromEntries(integers) as Record<IntegerName, QuantizedFormat>),
  mxfp4: {
    weight: mxfp4Weight,
    rows: (values, K, dtype) => (dtype === 'f32' ? values : quantizedRows(values, K, 32)),
  },
  fp8: { weight: (values, K) => fp8Weight(values, K, K), rows: (values) => values },
  fp8g128: { weight: (values, K) => fp8Weight(values, K, 128), rows: (values) => values },
} satisfies Record<QuantizedName, QuantizedFormat>
