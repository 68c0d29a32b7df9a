import { type ArrayTensor, arrayDType } from '../standalone/kernels.ts'
import { randomNumbers } from './shapes.ts'
import type { Workbench } from './workbench.ts'

const bits = new DataView(new ArrayBuffer(4))

export function fromBf16(pattern: number): number {
  bits.setUint32(0, pattern << 16)
  return bits.getFloat32(0)
}

/** Bits of the nearest bf16, ties to even. */
export function toBf16(value: number): number {
  bits.setFloat32(0, value)
  const word = bits.getUint32(0)
  if (Number.isNaN(value)) return (word >>> 16) | 0x40
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff
}

/** Random numbers around 0 as f32 or bf16. */
export function randomArray(
  shape: number[],
  dtype: 'f32' | 'bf16',
  seed: number,
  scale = 1,
): ArrayTensor {
  const random = randomNumbers(seed)
  const n = shape.reduce((a, b) => a * b, 1)
  const data = dtype === 'f32' ? new Float32Array(n) : new Uint16Array(n)
  for (let i = 0; i < n; i++) {
    const value = scale * (2 * random() - 1)
    data[i] = dtype === 'f32' ? value : toBf16(value)
  }
  return { data, shape, dtype }
}

export function at(array: ArrayTensor, i: number): number {
  const value = array.data[i]!
  return arrayDType(array) === 'bf16' ? fromBf16(value) : value
}

/**
 * Compares 64 places of an output with `want`, which gives the number in f64 and the sum of its absolute terms.
 * Returns the first one out of bounds.
 */
export function firstDifference(
  { dtype }: Workbench,
  got: ArrayTensor,
  terms: number,
  want: (row: number, column: number) => [value: number, magnitude: number],
): string | undefined {
  const [rows, columns] = got.shape as [number, number]
  const random = randomNumbers(3)
  const unit = arrayDType(got) === 'bf16' ? 2 ** -8 : 2 ** -23
  // Intermediate rows of a bf16 run are rounded as well.
  const inner = dtype === 'bf16' ? 2 ** -8 : (terms + 8) * 2 ** -24
  for (let i = 0; i < 64; i++) {
    const row = Math.floor(random() * rows)
    const column = Math.floor(random() * columns)
    const [value, magnitude] = want(row, column)
    const actual = at(got, row * columns + column)
    if (!(Math.abs(actual - value) <= unit * Math.abs(value) + inner * magnitude))
      return `at [${row}, ${column}]: ${actual}, want ${value}`
  }
  return undefined
}

/** Sum of n products and of their absolute values. */
export function dot(
  n: number,
  a: (i: number) => number,
  b: (i: number) => number,
): [number, number] {
  let value = 0
  let magnitude = 0
  for (let i = 0; i < n; i++) {
    const term = a(i) * b(i)
    value += term
    magnitude += Math.abs(term)
  }
  return [value, magnitude]
}

/** Row t of `rmsNorm` of x [T, H], by column. */
export function normedRow(
  x: ArrayTensor,
  weight: ArrayTensor,
  eps: number,
  t: number,
): (h: number) => number {
  const [, H] = x.shape as [number, number]
  const row = (h: number) => at(x, t * H + h)
  const rms = Math.sqrt(dot(H, row, row)[0] / H + eps)
  return (h) => (row(h) / rms) * at(weight, h)
}

export const silu = (x: number): number => x / (1 + Math.exp(-x))
