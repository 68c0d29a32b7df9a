import type { Device } from '../device.ts'
import { type ActivationDType, native, type Plan, type Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import { Workbench } from './workbench.ts'

/** What the device can do, measured in the same run as the kernels. */
export interface Ceilings {
  /** Bytes a second of one read-only stream. */
  read: number
  /** Bytes a second, read and written ones counted. */
  copy: number
  /** Operations a second: on a CPU of independent multiply-adds, on a GPU of this package's own large matrix product. */
  matrix: number
  /** What an op that does nothing costs, seconds; on a GPU a node of a replayed graph. */
  empty: number
}

/** Measures ceilings whenever asked: a shared machine changes within minutes. */
export class CeilingProbe {
  readonly #bench: Workbench
  readonly #from: Tensor
  readonly #to: Tensor
  readonly #sums: Tensor

  private constructor(bench: Workbench, from: Tensor, to: Tensor, sums: Tensor) {
    this.#bench = bench
    this.#from = from
    this.#to = to
    this.#sums = sums
  }

  static async make(device: Device, dtype: ActivationDType, small: boolean): Promise<CeilingProbe> {
    const bench = new Workbench(device, dtype, small)
    const n = small ? 1 << 12 : device.gpu ? 1 << 28 : 1 << 26
    const tensor = (size: number) => bench.random([size], 'f32')
    return new CeilingProbe(bench, await tensor(n), await tensor(n), await tensor(4096))
  }

  async #seconds(kind: ops.ProbeKind, out: Tensor, times = 1): Promise<number> {
    const record = Array.from(
      { length: times },
      () => (plan: Plan) => ops.probe(plan, { from: this.#from, to: out, kind }),
    )
    return (await this.#bench.time(record, 0.03)).min
  }

  async read(): Promise<number> {
    return (4 * this.#from.shape[0]!) / (await this.#seconds('read', this.#sums))
  }

  async all(): Promise<Ceilings> {
    const copy = (8 * this.#from.shape[0]!) / (await this.#seconds('copy', this.#to))
    const empty = await this.#seconds('empty', this.#to, 100)
    const { device, dtype, small } = this.#bench
    const matrix = await matrixRate(new Workbench(device, dtype, small))
    return { read: await this.read(), copy, empty, matrix }
  }

  release(): void {
    this.#bench.release()
  }
}

async function matrixRate(bench: Workbench): Promise<number> {
  if (!bench.device.gpu) {
    const of = async (kind: 'f32' | 'bf16_dot'): Promise<number> => {
      const { work, seconds } = await native().probe(kind, bench.device.threads)
      return work / seconds
    }
    return (bench.dtype === 'bf16' && (await of('bf16_dot'))) || of('f32')
  }
  const size = bench.small ? 64 : 8192
  const x = await bench.random([size, size])
  const weight = await bench.weight([size, size])
  const { dtype } = bench
  const { min } = await bench.time([(plan) => ops.linear(plan, { x, weight, dtype })], 0.2)
  bench.release()
  return (2 * size ** 3) / min
}
