import { native } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Workbench } from './bench.ts'

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

export async function measureCeilings(bench: Workbench, small: boolean): Promise<Ceilings> {
  const { gpu, threads } = bench.device
  const n = small ? 1 << 12 : gpu ? 1 << 28 : 1 << 26
  const from = await bench.random([n], 'f32')
  const to = await bench.random([n], 'f32')
  const sums = await bench.random([4096], 'f32')
  const time = async (kind: 'read' | 'copy' | 'empty', out = to, times = 1): Promise<number> => {
    const record = Array.from(
      { length: times },
      () => (plan: Parameters<typeof ops.rmsNorm>[0]) => plan.probe(from, out, kind),
    )
    return (await bench.time(record, 0.2)).min
  }
  const read = (4 * n) / (await time('read', sums))
  const copy = (8 * n) / (await time('copy'))
  const empty = await time('empty', to, 100)
  bench.release()
  return { read, copy, empty, matrix: await matrixRate(bench, small, threads) }
}

async function matrixRate(bench: Workbench, small: boolean, threads: number): Promise<number> {
  if (!bench.device.gpu) {
    const of = async (kind: 'f32' | 'bf16_dot'): Promise<number> => {
      const { work, seconds } = await native().probe(kind, threads)
      return work / seconds
    }
    return (bench.dtype === 'bf16' && (await of('bf16_dot'))) || of('f32')
  }
  const size = small ? 64 : 8192
  const x = await bench.random([size, size])
  const weight = await bench.random([size, size], bench.dtype, 'panels')
  const { min } = await bench.time([(plan) => ops.linear(plan, x, weight, bench.dtype)], 0.2)
  bench.release()
  return (2 * size ** 3) / min
}
