import { type DeviceInfo, type DeviceName, openDevice } from '../device.ts'
import { badOption, MoeError } from '../errors.ts'
import type { ActivationDType } from '../native.ts'
import { CeilingProbe, type Ceilings } from './ceilings.ts'
import { attention } from './kernels/attention.ts'
import { expertChoice, limitCapacity } from './kernels/capacity.ts'
import { gatherGemm, ropeAttention } from './kernels/decode.ts'
import { normLinear, route } from './kernels/fused.ts'
import { groupedGemm, linear } from './kernels/gemm.ts'
import { latentAttention } from './kernels/latent.ts'
import { lora } from './kernels/lora.ts'
import { combine, permute, topK } from './kernels/routing.ts'
import { embedding, rmsNorm, ropeCache, sampling } from './kernels/rows.ts'
import { softCombine, softDispatch, softLogits, softWeights } from './kernels/soft.ts'
import { modelShapes, type RoutingName, routings } from './shapes.ts'
import { type KernelBench, Workbench } from './workbench.ts'

export const benches: KernelBench[] = [
  ...[groupedGemm, gatherGemm, linear, normLinear, lora],
  ...[attention, ropeAttention, latentAttention, ropeCache],
  ...[route, topK, permute, combine, rmsNorm, embedding, sampling],
  ...[limitCapacity, expertChoice, softLogits, softWeights, softDispatch, softCombine],
]

export interface BenchOptions {
  /** Names of ops; all when empty. */
  ops?: string[]
  device?: DeviceName
  dtype?: 'auto' | ActivationDType
  models?: string[]
  tokens?: number[]
  routings?: RoutingName[]
  /** Seconds for each measurement, about. */
  seconds?: number
  /** Looked at between measurements. */
  signal?: AbortSignal
  onStart?: (head: BenchHead) => void
  onResult?: (result: BenchResult) => void
}

export interface BenchResult {
  op: string
  model: string
  shape: string
  tokens: number
  routing?: RoutingName
  /** Of one op, seconds: median, fastest and slowest of `runs` runs. */
  seconds: number
  min: number
  max: number
  runs: number
  /** Useful work only. */
  bytesPerSecond: number
  flopsPerSecond: number
  /** Bytes a second that the device could read right after this measurement. */
  readCeiling: number
  /** The roofline's time over the median. */
  share: number
  /** What the roofline is bound by. */
  bound: 'read' | 'matrix'
}

/** What all results of a run have in common. */
export interface BenchHead {
  date: string
  device: DeviceInfo
  dtype: ActivationDType
  ceilings: Ceilings
}

function names<T extends string>(what: string, given: readonly string[], known: readonly T[]): T[] {
  for (const name of given)
    if (!known.includes(name as T)) badOption('bench', what, `one of ${known.join(', ')}`, name)
  return given as T[]
}

/**
 * Checks and times kernels at the sizes of real models, against what the device can do in the same minutes.
 *
 * @throws {MoeError} ERR_MOE_OPTION for unknown names; ERR_MOE_DEVICE when a kernel's check fails
 */
export async function runBenches(options: BenchOptions = {}): Promise<BenchHead> {
  const known = benches.map(({ op }) => op)
  const wanted = options.ops?.length ? names('op', options.ops, known) : known
  const device = openDevice(options.device ?? 'auto')
  const simulated = device.info.type === 'cuda-sim'
  const models = names(
    'model',
    options.models ?? (simulated ? ['tiny'] : ['yuan', 'moepp', 'mixtral']),
    Object.keys(modelShapes),
  )
  const small = models.every((name) => name === 'tiny')
  const dtype = options.dtype === undefined || options.dtype === 'auto' ? 'bf16' : options.dtype
  const tokens = options.tokens ?? defaultTokens(device.gpu !== undefined, small)
  const ways = names('routing', options.routings ?? ['uniform'], routings)
  const bench = new Workbench(device, dtype, small)
  const probe = await CeilingProbe.make(device, dtype, small)
  const ceilings = await probe.all()
  const head = { date: new Date().toISOString(), device: device.info, dtype, ceilings }
  options.onStart?.(head)
  try {
    for (const model of models)
      for (const kernel of benches.filter(({ op }) => wanted.includes(op))) {
        const shape = modelShapes[model]!
        const wrong = await kernel.check(shape, bench)
        if (wrong)
          throw new MoeError(
            'ERR_MOE_DEVICE',
            `bench: ${kernel.op} of ${model} must be right, got ${wrong}`,
          )
        for await (const one of kernel.make({ shape, tokens, routings: ways }, bench)) {
          options.signal?.throwIfAborted()
          const time = await bench.time(one.record, options.seconds ?? 0.3)
          const readCeiling = await probe.read()
          const reading = one.bytes / readCeiling
          const multiplying = one.flops / ceilings.matrix
          const result: BenchResult = {
            ...{ op: one.op, model, shape: one.shape, tokens: one.tokens },
            ...(one.routing && { routing: one.routing }),
            ...{ seconds: time.median, min: time.min, max: time.max, runs: time.runs },
            bytesPerSecond: one.bytes / time.median,
            flopsPerSecond: one.flops / time.median,
            readCeiling,
            share: Math.max(reading, multiplying) / time.median,
            bound: reading >= multiplying ? 'read' : 'matrix',
          }
          options.onResult?.(result)
        }
      }
  } finally {
    bench.release()
    probe.release()
  }
  return head
}

function defaultTokens(onGpu: boolean, small: boolean): number[] {
  if (small) return [1, 20]
  return onGpu ? [1, 2, 4, 8, 16, 32, 64, 128, 512, 1024, 4096, 16384] : [1, 8, 32, 128, 512]
}
