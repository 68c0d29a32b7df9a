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
  type WeightFormat,
} from '../native.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions } from '../options.ts'

/** A tensor as plain data, row-major. bf16 and f16 are bit patterns in a Uint16Array. */
export interface ArrayTensor {
  /** As many values as the shape says. */
  data: NumberArray
  shape: number[]
  /** Default by the array: Float32Array f32, Int32Array i32, Uint16Array bf16, Uint8Array u8. */
  dtype?: DType | undefined
  /** Of a weight: how it is stored for the product; default as its values are. */
  format?: WeightFormat | undefined
}

/** Where an op of `ops` runs. */
export interface KernelOptions {
  /** Default `cpu`. */
  device?: DeviceName | undefined
  /** CPU threads; default: all that are allowed. */
  threads?: number | undefined
}

const optionNames: OptionNames<KernelOptions & PlanOptions> = {
  ...{ device: true, threads: true },
  ...{ fuse: true, deterministic: true },
}

export const isArrayTensor = (value: unknown): value is ArrayTensor =>
  typeof value === 'object' && value !== null && 'data' in value && 'shape' in value

/** Element type of an array tensor. */
export function arrayDType({ data, dtype }: ArrayTensor): DType {
  if (dtype) return dtype
  if (data instanceof Float32Array) return 'f32'
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Uint16Array ? 'bf16' : 'u8'
}

const arrayTypes = [Float32Array, Int32Array, Uint16Array, Uint8Array]

/** A copy that nobody else can change between check and use; undefined for what is no array of numbers. */
function copyOf(data: unknown): NumberArray | undefined {
  const Type = arrayTypes.find((type) => data instanceof type)
  try {
    return Type && ArrayBuffer.isView(data) ? new Type(data as NumberArray) : undefined
  } catch {
    return undefined // its memory has been taken away
  }
}

/** Items of a list of experts or weights. */
const maxList = 4096

/** A plan of few ops on arrays: turns arrays into tensors, and checks what kernels trust. */
export class OneOp {
  readonly plan: Plan
  readonly #where: string
  readonly #device: Device
  readonly #threads: number
  readonly #outputs: { [name: string]: Tensor } = {}

  constructor(where: string, options: KernelOptions & PlanOptions = {}) {
    checkOptions(where, options, optionNames)
    const { device = 'cpu', threads, ...planOptions } = options
    if (threads !== undefined && !(Number.isInteger(threads) && threads > 0))
      badOption(where, 'threads', 'a whole number of at least 1', threads)
    this.#where = where
    this.#device = openDevice(device)
    this.#threads = threads ?? this.#device.threads
    this.plan = new (native().Plan)(new (native().Arena)(this.#device.gpu), planOptions)
  }

  /** A caller's array, checked. */
  input(name: string, array: ArrayTensor): Tensor {
    return this.tensor(this.#read(name, array))
  }

  /** An array of a snapshot. */
  tensor(array: ArrayTensor): Tensor {
    return native().tensorFrom(array.data, array.shape, arrayDType(array), this.#device.gpu)
  }

  /** The inputs as they are now, each read once; array tensors are checked. */
  snapshot(inputs: object): { [name: string]: unknown } {
    const one = (name: string, value: unknown) =>
      isArrayTensor(value) ? this.#read(name, value) : value
    const list = (name: string, values: unknown[]) => {
      if (values.length > maxList)
        badOption(this.#where, name, `a list of at most ${maxList}`, `${values.length} items`)
      return Array.from(values, (item, i) => one(`${name}[${i}]`, item))
    }
    return Object.fromEntries(
      Object.entries(inputs).map(([name, value]) => [
        name,
        Array.isArray(value) ? list(name, value) : one(name, value),
      ]),
    )
  }

  #read(name: string, array: ArrayTensor): ArrayTensor {
    const { data: theirs, shape: given, dtype, format } = array
    const data = copyOf(theirs)
    if (!data || !Array.isArray(given) || given.length > 8)
      badOption(this.#where, name, '{ data: typed array, shape }', array)
    const shape = Array.from(given)
    if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
      badOption(this.#where, `${name}.shape`, 'whole numbers of at least 0', shape)
    const count = shape.reduce((n, dim) => n * dim, 1)
    if (data.length !== count)
      throw new MoeError(
        'ERR_MOE_SHAPE',
        `${this.#where}: ${name} must have ${count} elements for [${shape.join(', ')}], got ${data.length}`,
      )
    return { data, shape, dtype, format }
  }

  /** Indices into something: kernels trust them, so they are checked here. `limit` is excluded. */
  indices(name: string, array: ArrayTensor | undefined, limit: number, min = 0): void {
    if (!isArrayTensor(array)) badOption(this.#where, name, '{ data: typed array, shape }', array)
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

  /** Offsets that cut `tokens` tokens into segments. */
  segments(array: ArrayTensor, tokens = 0): void {
    this.offsets('segments', array, tokens)
    const end = array.data[array.data.length - 1]
    if (end !== tokens)
      badOption(this.#where, `segments[${array.data.length - 1}]`, `${tokens}, the tokens`, end)
  }

  /** A weight [N, K], packed as the GEMM reads it. */
  async weight(name: string, array: ArrayTensor, gateUp = false): Promise<Weight> {
    if (array.shape.length !== 2)
      throw new MoeError(
        'ERR_MOE_SHAPE',
        `${this.#where}: ${name} must have 2 dimensions, got [${array.shape.join(', ')}]`,
      )
    const { format = arrayDType(array) === 'bf16' ? 'bf16' : 'f32' } = array
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
