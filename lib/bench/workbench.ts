import type { Device, DeviceName } from '../device.ts'
import {
  type ActivationDType,
  type DType,
  type NumberArray,
  native,
  type Plan,
  type Tensor,
  type Weight,
} from '../native.ts'
import type { ModelShape, RoutingName } from './shapes.ts'

/** One op at one size. What it counts is useful work only: no padding, each weight and activation once. */
export interface Bench {
  op: string
  /** In words, such as `[32, 16384, 2048] gate_up`. */
  shape: string
  tokens: number
  routing?: RoutingName
  bytes: number
  flops: number
  /** Records the op once for each set of inputs; sets differ, so that caches hold none of them. */
  record: ((plan: Plan) => unknown)[]
}

export interface BenchRequest {
  shape: ModelShape
  tokens: number[]
  routings: RoutingName[]
}

/** A kernel's benchmarks, made one after the other, and its check at the model's widths. */
export interface KernelBench {
  op: string
  /** Runs the op on arrays and returns what is wrong, or undefined. */
  check(shape: ModelShape, bench: Workbench): Promise<string | undefined>
  make(request: BenchRequest, bench: Workbench): AsyncGenerator<Bench>
}

/** Tensors on a device, filled with random numbers, freed together. */
export class Workbench {
  readonly device: Device
  readonly dtype: ActivationDType
  /** For tests: nothing rotates and ceilings are quick. */
  readonly small: boolean
  /** What rotating inputs must exceed together: more than any cache. */
  readonly rotateBytes: number
  /** What all weights of one benchmark may take. */
  readonly budgetBytes: number
  #tensors: (Tensor | Weight)[] = []
  #seed = 1

  constructor(device: Device, dtype: ActivationDType, small: boolean) {
    this.device = device
    this.dtype = dtype
    this.small = small
    this.rotateBytes = small ? 0 : 256e6
    this.budgetBytes = small ? 1e8 : device.gpu ? 24e9 : 6e9
  }

  /** For calls of single kernels. */
  get name(): DeviceName {
    const { type, index } = this.device.info
    return type === 'cpu' ? 'cpu' : `${type}:${index ?? 0}`
  }

  get elementBytes(): number {
    return this.dtype === 'bf16' ? 2 : 4
  }

  /** Sets of inputs of so many bytes, of which so many in all fit the memory. */
  sets(bytesTouched: number, bytesHeld = bytesTouched, most = 64): number {
    const wanted = Math.ceil(this.rotateBytes / Math.max(bytesTouched, 1))
    const fit = Math.max(1, Math.floor(this.budgetBytes / Math.max(bytesHeld, 1)))
    return Math.max(1, Math.min(wanted, fit, most))
  }

  /** Several inputs, of which one op touches `bytes`: as many as go past the caches. */
  async rotating<T>(bytes: number, make: () => Promise<T>, most?: number): Promise<T[]> {
    const made: T[] = []
    for (let s = 0; s < this.sets(bytes, bytes, most); s++) made.push(await make())
    return made
  }

  random(shape: number[], dtype: DType = this.dtype): Promise<Tensor> {
    return this.#fill(native().tensor(shape, dtype, this.device.gpu), 1)
  }

  /** Random weights that keep their input's size. */
  weight(shape: [N: number, K: number], gateUp = false): Promise<Weight> {
    const weight = new (native().Weight)(shape, this.dtype, gateUp, this.device.gpu)
    return this.#fill(weight, 1 / Math.sqrt(shape[1]))
  }

  async #fill<T extends Tensor | Weight>(handle: T, deviation: number): Promise<T> {
    this.#tensors.push(handle)
    await native().fillRandom(handle, 0, deviation, this.#seed++ * 2 ** 32)
    return handle
  }

  numbers(data: NumberArray, shape: number[]): Tensor {
    const dtype = data instanceof Float32Array ? 'f32' : 'i32'
    const tensor = native().tensorFrom(data, shape, dtype, this.device.gpu)
    this.#tensors.push(tensor)
    return tensor
  }

  release(): void {
    for (const tensor of this.#tensors.splice(0)) tensor.release()
  }

  /** Median, fastest and slowest seconds of one recorded op, over runs of all of them. */
  async time(
    record: Bench['record'],
    seconds: number,
  ): Promise<{ median: number; min: number; max: number; runs: number }> {
    const arena = new (native().Arena)(this.device.gpu)
    const plan = new (native().Plan)(arena)
    for (const one of record) one(plan)
    const { threads } = this.device
    try {
      const [first] = await plan.timeRuns(1, threads)
      const runs = Math.max(3, Math.min(50, Math.round(seconds / first!)))
      const times = (await plan.timeRuns(runs, threads)).map((t) => t / record.length).sort()
      return { median: times[times.length >> 1]!, min: times[0]!, max: times.at(-1)!, runs }
    } finally {
      arena.release() // a GPU's memory does not wait for the garbage collector
    }
  }
}
