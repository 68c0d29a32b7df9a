import { type ArrayTensor, arrayDType, type KernelOptions } from '../../lib/kernels.ts'

export type DType = 'f32' | 'bf16'

/** What an output must be: exact integers, or numbers with the sum of the absolute terms they were made of. */
export type Expected =
  | { exact: ArrayLike<number> }
  | {
      value: Float64Array
      magnitude: Float64Array
      /** Rounding steps of the output's own dtype; default 1. */
      roundings?: number
    }

/** One description of an op: inputs, f64 reference, error bound and what it must reject. */
export interface OpCase<Shape = any, Inputs = any> {
  op: string
  dtypes: DType[]
  shapes: Shape[]
  inputs(shape: Shape, random: Random, dtype: DType): Inputs
  run(inputs: Inputs, options: KernelOptions): Promise<Record<string, ArrayTensor>>
  /** Plain loops in f64, written from the paper; shares nothing with native code. */
  reference(inputs: Inputs, shape: Shape): Record<string, Expected>
  /** f32 operations behind one output: the error bound is u_out |value| + (terms + 1) u_f32 magnitude. */
  terms(shape: Shape): number
  /** What is refused, with the code and the argument that the message must name. */
  rejects: [what: string, code: string, argument: string, change: (inputs: Inputs) => Inputs][]
}

export const unitRoundoff = { f32: 2 ** -24, bf16: 2 ** -8 }

/** Numbers that are the same on every run. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** In [0, 1). */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  int(below: number): number {
    return Math.floor(this.uniform() * below)
  }

  tensor(shape: number[], dtype: DType = 'f32', scale = 1): ArrayTensor {
    return tensor(shape, dtype, () => scale * this.normal())
  }

  ints(shape: number[], below: number): ArrayTensor {
    return ints(shape, () => this.int(below))
  }
}

const size = (shape: number[]): number => shape.reduce((n, dim) => n * dim, 1)

const scratch = new DataView(new ArrayBuffer(4))

/** Bits of the nearest bf16, ties to even. */
export function toBf16(value: number): number {
  scratch.setFloat32(0, value)
  const bits = scratch.getUint32(0)
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

export function fromBf16(bits: number): number {
  scratch.setUint32(0, bits << 16)
  return scratch.getFloat32(0)
}

export function tensor(shape: number[], dtype: DType, value: (i: number) => number): ArrayTensor {
  const n = size(shape)
  const data = dtype === 'f32' ? new Float32Array(n) : new Uint16Array(n)
  for (let i = 0; i < n; i++) data[i] = dtype === 'f32' ? value(i) : toBf16(value(i))
  return { data, shape, dtype }
}

export function ints(shape: number[], value: (i: number) => number): ArrayTensor {
  return { data: Int32Array.from({ length: size(shape) }, (_, i) => value(i)), shape }
}

/** The tensor's numbers. */
export function toF64(array: ArrayTensor): Float64Array {
  const bf16 = arrayDType(array) === 'bf16'
  return Float64Array.from(array.data, (v) => (bf16 ? fromBf16(v) : v))
}

/** Filled output of a reference. */
export function output(
  count: number,
  each: (i: number) => [value: number, magnitude: number],
): Expected {
  const value = new Float64Array(count)
  const magnitude = new Float64Array(count)
  for (let i = 0; i < count; i++) [value[i], magnitude[i]] = each(i) as [number, number]
  return { value, magnitude }
}

/** Sum of products and of their absolute values. */
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

export const silu = (x: number): number => x / (1 + Math.exp(-x))
export const reshape = (array: ArrayTensor, shape: number[]): ArrayTensor => ({ ...array, shape })

/** The same numbers as another dtype. */
export function as(array: ArrayTensor, dtype: DType): ArrayTensor {
  const values = toF64(array)
  return tensor(array.shape, dtype, (i) => values[i]!)
}
