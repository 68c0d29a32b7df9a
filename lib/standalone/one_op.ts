import { type Device, type DeviceName, openDevice } from '../device.ts'
import { badOption, MoeError } from '../errors.ts'
import {
  type DType,
  type NumberArray,
  native,
  type Plan,
  type PlanOptions,
  type Tensor,
  type Weight,
} from '../native.ts'

/** A tensor as plain data, row-major. bf16 and f16 are bit patterns in a Uint16Array. */
export interface ArrayTensor {
  data: NumberArray
  shape: number[]
  /** Default by the array: Float32Array f32, Int32Array i32, Uint16Array bf16, Uint8Array u8. */
  dtype?: DType | undefined
}

export interface KernelOptions {
  device?: DeviceName | undefined
  threads?: number | undefined
}

/** Element type of an array tensor. */
export function arrayDType({ data, dtype }: ArrayTensor): DType {
  if (dtype) return dtype
  if (data instanceof Float32Array) return 'f32'
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Uint16Array ? 'bf16' : 'u8'
}

/** A plan of few ops on arrays: turns arrays into tensors, and checks what kernels trust. */
export class OneOp {
  readonly plan: Plan
  readonly #where: string
  readonly #device: Device
  readonly #threads: number
  readonly #outputs: { [name: string]: Tensor } = {}

  constructor(where: string, options: KernelOptions & PlanOptions = {}) {
    if (typeof options !== 'object' || options === null)
      badOption(where, 'options', 'an object', options)
    const { device = 'cpu', threads, ...planOptions } = options
    if (threads !== undefined && !(Number.isInteger(threads) && threads > 0))
      badOption(where, 'threads', 'a whole number of at least 1', threads)
    this.#where = where
    this.#device = openDevice(device)
    this.#threads = threads ?? this.#device.threads
    this.plan = new (native().Plan)(new (native().Arena)(this.#device.gpu), planOptions)
  }

  input(name: string, array: ArrayTensor): Tensor {
    this.check(name, array)
    return native().tensorFrom(array.data, array.shape, arrayDType(array), this.#device.gpu)
  }

  /** That it is a typed array and its shape. */
  check(name: string, array: ArrayTensor): void {
    if (!ArrayBuffer.isView(array?.data) || !Array.isArray(array.shape))
      badOption(this.#where, name, '{ data: typed array, shape }', array)
    if (!array.shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
      badOption(this.#where, `${name}.shape`, 'whole numbers of at least 0', array.shape)
    const count = array.shape.reduce((n, dim) => n * dim, 1)
    if (array.data.length !== count)
      throw new MoeError(
        'ERR_MOE_SHAPE',
        `${this.#where}: ${name} must have ${count} elements for [${array.shape.join(', ')}], got ${array.data.length}`,
      )
  }

  /** Throws ERR_MOE_SHAPE. */
  wrongShape(name: string, expected: number[], { shape }: ArrayTensor): never {
    const list = (dims: number[]) => `[${dims.join(', ')}]`
    throw new MoeError(
      'ERR_MOE_SHAPE',
      `${this.#where}: ${name} must be ${list(expected)}, got ${list(shape)}`,
    )
  }

  /** Indices into something: kernels trust them, so they are checked here. `limit` is excluded. */
  indices(name: string, array: ArrayTensor, limit: number, min = 0): void {
    this.check(name, array)
    for (const [i, value] of array.data.entries())
      if (!(value >= min && value < limit))
        badOption(this.#where, `${name}[${i}]`, `an index from ${min} to ${limit - 1}`, value)
  }

  /** Ascending offsets from 0 to at most `end`. */
  offsets(name: string, array: ArrayTensor, end: number): void {
    this.indices(name, array, end + 1)
    for (const [i, value] of array.data.entries())
      if (value < (array.data[i - 1] ?? 0) || (i === 0 && value !== 0))
        badOption(this.#where, `${name}[${i}]`, 'ascending from 0', value)
  }

  /** A weight [N, K], packed as the GEMM reads it. */
  async weight(name: string, array: ArrayTensor, gateUp = false): Promise<Weight> {
    this.check(name, array)
    if (array.shape.length !== 2)
      throw new MoeError(
        'ERR_MOE_SHAPE',
        `${this.#where}: ${name} must have 2 dimensions, got [${array.shape.join(', ')}]`,
      )
    const format = arrayDType(array) === 'bf16' ? 'bf16' : 'f32'
    const rows = native().tensorFrom(array.data, array.shape, arrayDType(array))
    const out = new (native().Weight)(array.shape, format, gateUp, this.#device.gpu)
    await native().pack(out, [[rows, 0, array.shape[0]!]])
    return out
  }

  /** Names what a run is to return. */
  output(outputs: object): void {
    for (const [name, tensor] of Object.entries(outputs) as [string, Tensor][]) {
      this.plan.output(name, tensor)
      this.#outputs[name] = tensor
    }
  }

  async run(): Promise<{ [name: string]: ArrayTensor }> {
    const results = await this.plan.run({}, this.#threads)
    return Object.fromEntries(
      Object.entries(this.#outputs).map(([name, { shape, dtype }]) => [
        name,
        { data: results[name]!, shape, dtype },
      ]),
    )
  }
}
