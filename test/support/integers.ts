// Weights and rows as integers, from the rules in the docs of csrc/weights/formats/integer.h and
// csrc/cpu/isa/kernels.h. Rounds to f32 where those round, and nowhere else.

export interface IntegerFormat {
  bits: 4 | 8
  group: 32 | 128
  /** A scale for each group; else one for each output. */
  byGroup: boolean
  zeros: boolean
}

export const integerFormats = {
  int8: { bits: 8, group: 128, byGroup: false, zeros: false },
  int8g128: { bits: 8, group: 128, byGroup: true, zeros: false },
  int4g32: { bits: 4, group: 32, byGroup: true, zeros: false },
  int4g128: { bits: 4, group: 128, byGroup: true, zeros: false },
  int4g32z: { bits: 4, group: 32, byGroup: true, zeros: true },
  int4g128z: { bits: 4, group: 128, byGroup: true, zeros: true },
} as const satisfies Record<string, IntegerFormat>
export type IntegerName = keyof typeof integerFormats

const f32 = Math.fround

/** The nearest f16, ties to even, of a number in its range. */
export function toF16(value: number): number {
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), -14)
  return value === 0 ? 0 : nearest(value / 2 ** (exponent - 10)) * 2 ** (exponent - 10)
}

/** Nearest whole number, ties to even. */
function nearest(value: number): number {
  const below = Math.floor(value)
  if (value - below !== 0.5) return Math.round(value)
  return below % 2 === 0 ? below : below + 1
}

const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high)

/** Calls `each` with the groups of every row of [rows, K]. */
export function groups(
  values: Float64Array,
  K: number,
  group: number,
  each: (part: Float64Array, row: number) => void,
): void {
  for (let row = 0; row < values.length / Math.max(K, 1); row++)
    for (let k = 0; k < K; k += group)
      each(values.subarray(row * K + k, row * K + Math.min(k + group, K)), row)
}

export const largest = (part: Float64Array) =>
  part.reduce((most, v) => Math.max(most, Math.abs(v)), 0)

/** What the weights [N, K] become: scale * (q - zero) of each. */
export function quantizedWeight(
  weight: Float64Array,
  K: number,
  { bits, group, byGroup, zeros }: IntegerFormat,
): Float64Array {
  const out = Float64Array.from(weight)
  const rows = byGroup ? undefined : new Float64Array(weight.length / Math.max(K, 1))
  if (rows)
    groups(out, K, K, (part, row) => {
      rows[row] = f32(largest(part) / 127)
    })
  groups(out, K, group, (part, row) => {
    const most = largest(part)
    let scale: number
    let zero = 0
    if (rows) scale = rows[row]!
    else if (bits === 8) scale = toF16(f32(most / 127))
    else if (zeros) {
      const [low, high] = [Math.min(0, ...part), Math.max(0, ...part)]
      scale = toF16(f32(f32(high - low) / 15))
      zero = scale > 0 ? Math.min(nearest(f32(-low / scale)), 15) : 0
    } else scale = toF16(f32(part.includes(most) ? most / -8 : most / 8))
    const inverse = scale === 0 ? 0 : f32(1 / scale)
    const [least, greatest] = bits === 8 ? [-127, 127] : zeros ? [-zero, 15 - zero] : [-8, 7]
    for (const [i, value] of part.entries())
      part[i] = scale * clamp(nearest(f32(value * inverse)), least!, greatest!)
  })
  return out
}

/** What the rows [T, K] of f32 numbers become as activations: scale * q of each. */
export function quantizedRows(x: Float64Array, K: number, group: number): Float64Array {
  const out = Float64Array.from(x)
  groups(out, K, group, (part) => {
    const most = largest(part)
    const scale = f32(most / 127)
    const inverse = most < 2 ** -100 ? 0 : f32(127 / most)
    for (const [i, value] of part.entries()) part[i] = scale * nearest(f32(value * inverse))
  })
  return out
}
