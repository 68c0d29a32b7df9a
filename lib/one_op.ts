import { type Device, type DeviceName, openDevice } from './device.ts'
import { badOption, MoeError } from './errors.ts'
import {
  type DType,
  type NumberArray,
  native,
  type Plan,
  type Tensor,
  type Weight,
} from './native.ts'
import { blockTokens } from './ops/index.ts'

/** A tensor as plain data, row-major. bf16 and f16 are bit patterns in a Uint16Array. */
export interface ArrayTensor {
  data: NumberArray
  shape: number[]
  /** Default by the array: Float32Array f32, Int32Array i32, Uint16Array bf16, Uint8Array u8. */
  dtype?: DType
}

export interface KernelOptions {
  device?: DeviceName
  threads?: number
}

/** Element type of an array tensor. */
export function arrayDType({ data, dtype }: ArrayTensor): DType {
  if (dtype) return dtype
  if (data instanceof Float32Array) return 'f32'
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Uint16Array ? 'bf16' : 'u8'
}

/** One op's plan while it is described: turns arrays into tensors. */
export class OneOp {
  readonly plan: Plan
  readonly #where: string
  readonly #device: Device
  readonly #threads: number

  constructor(where: string, { device = 'cpu', threads }: KernelOptions = {}) {
    this.#where = where
    this.#device = openDevice(device)
    this.#threads = threads ?? this.#device.threads
    this.plan = new (native().Plan)(new (native().Arena)(this.#device.gpu))
  }

  input(name: string, array: ArrayTensor): Tensor {
    this.#check(name, array)
    return native().tensorFrom(array.data, array.shape, arrayDType(array), this.#device.gpu)
  }

  #check(name: string, array: ArrayTensor): void {
    if (!ArrayBuffer.isView(array?.data) || !Array.isArray(array.shape))
      badOption(this.#where, name, '{ data: typed array, shape }', array)
    const count = array.shape.reduce((n, dim) => n * dim, 1)
    if (array.data.length !== count)
      throw new MoeError(
        'ERR_MOE_SHAPE',
        `${this.#where}: ${name} must have ${count} elements for [${array.shape.join(', ')}], got ${array.data.length}`,
      )
  }

  /** Indices into something: kernels trust them, so they are checked here. `limit` is excluded. */
  indices(name: string, array: ArrayTensor, limit: number, min = 0): Tensor {
    const tensor = this.input(name, array)
    for (const [i, value] of array.data.entries())
      if (value < min || value >= limit)
        badOption(this.#where, `${name}[${i}]`, `an index from ${min} to ${limit - 1}`, value)
    return tensor
  }

  /** Ascending offsets from 0 to at most `end`. */
  offsets(name: string, array: ArrayTensor, end: number): Tensor {
    const tensor = this.indices(name, array, end + 1)
    for (const [i, value] of array.data.entries())
      if (value < (array.data[i - 1] ?? 0) || (i === 0 && value !== 0))
        badOption(this.#where, `${name}[${i}]`, 'ascending from 0', value)
    return tensor
  }

  optional(name: string, array: ArrayTensor | undefined): Tensor | undefined {
    return array && this.input(name, array)
  }

  /** Where tokens stand: positions inside the block table's rows, and its blocks inside the cache. */
  places(
    i: Record<'positions' | 'sequences' | 'blockTable', ArrayTensor>,
    blocks: number,
  ): Record<'positions' | 'sequences' | 'blockTable', Tensor> {
    const [sequences = 0, perSequence = 0] = i.blockTable.shape
    return {
      positions: this.indices('positions', i.positions, perSequence * blockTokens),
      sequences: this.indices('sequences', i.sequences, sequences),
      blockTable: this.indices('blockTable', i.blockTable, blocks),
    }
  }

  /** A weight [N, K], packed as the GEMM reads it. */
  async weight(name: string, array: ArrayTensor, gateUp = false): Promise<Weight> {
    this.#check(name, array)
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

  async run<Names extends string>(
    outputs: Record<Names, Tensor>,
  ): Promise<Record<Names, ArrayTensor>> {
    const names = Object.keys(outputs) as Names[]
    const data = await this.plan.run(
      [],
      names.map((name) => outputs[name]),
      this.#threads,
    )
    return Object.fromEntries(
      names.map((name, i) => [
        name,
        { data: data[i]!, shape: outputs[name].shape, dtype: outputs[name].dtype },
      ]),
    ) as Record<Names, ArrayTensor>
  }
}
