import type { Plan } from '../../lib/native.ts'
import { type ArrayTensor, arrayDType, type KernelOptions } from '../../lib/standalone/kernels.ts'
import { isArrayTensor, OneOp } from '../../lib/standalone/one_op.ts'
import { fromBf16, toBf16 } from '../support/math.ts'

export { dot, fromBf16, silu, toBf16 } from '../support/math.ts'

export type DType = 'f32' | 'bf16'

/** What an output must be: exact integers, or numbers with the sum of the absolute terms they were made of. */
export type Expected =
  | { exact: ArrayLike<number> }
  | { value: Float64Array; magnitude: Float64Array }

/** One description of an op: inputs, f64 reference, error bound and what it must reject. */
export interface OpCase<Shape = any, Inputs = any> {
  op: string
  dtypes: DType[]
  shapes: Shape[]
  inputs(shape: Shape, random: Random, dtype: DType): Inputs
  run(inputs: Inputs, options: KernelOptions): Promise<{ [name: string]: ArrayTensor | undefined }>
  /** Plain loops in f64, written from the paper; shares nothing with native code. */
  reference(inputs: Inputs, shape: Shape): Record<string, Expected>
  /** f32 operations behind one output: the error bound is u_out |value| + (terms + 1) u_f32 magnitude. */
  terms(shape: Shape): number
  /** The reference is of the CPU's own way to do it. */
  onlyCpu?: boolean
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

export function tensor(shape: number[], dtype: DType, value: (i: number) => number): ArrayTensor {
  const n = size(shape)
  const data = dtype === 'f32' ? new Float32Array(n) : new Uint16Array(n)
  for (let i = 0; i < n; i++) data[i] = dtype === 'f32' ? value(i) : toBf16(value(i))
  return { data, shape, dtype }
}

export function ints(shape: number[], value: (i: number) => number): ArrayTensor {
  return { data: Int32Array.from({ length: size(shape) }, (_, i) => value(i)), shape }
}

/** The tensor's numbers; `exact` stands for them where they are known better than it holds them. */
export function toF64(array: ArrayTensor & { exact?: Float64Array }): Float64Array {
  if (array.exact) return array.exact
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

export const reshape = (array: ArrayTensor, shape: number[]): ArrayTensor => ({ ...array, shape })

/** The same numbers as another dtype. */
export function as(array: ArrayTensor, dtype: DType): ArrayTensor {
  const values = toF64(array)
  return tensor(array.shape, dtype, (i) => values[i]!)
}

/** The op with `x` as columns of a wider tensor that begin at `first`; beside them is NaN. Returns it whole, too. */
export async function onColumns(
  record: (plan: Plan, inputs: any) => unknown,
  { x, ...fields }: { x: ArrayTensor; [name: string]: unknown },
  first: number,
  options: KernelOptions,
): Promise<{ [name: string]: ArrayTensor }> {
  const one = new OneOp(record.name, options)
  const [T, H] = x.shape as [number, number]
  const width = H + first + 4
  const values = toF64(x)
  const wide = one.input(
    'x',
    tensor([T, width], arrayDType(x) as DType, (i) => {
      const column = (i % width) - first
      return column >= 0 && column < H ? values[Math.floor(i / width) * H + column]! : Number.NaN
    }),
  )
  const inputs = Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      isArrayTensor(value) ? one.input(name, value) : value,
    ]),
  )
  one.output({
    wide,
    ...(record(one.plan, { ...inputs, x: wide.columns(first, H) }) as object | undefined),
  })
  return one.run()
}
