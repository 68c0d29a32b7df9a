import { readFileSync } from 'node:fs'
import os from 'node:os'
import { badOption } from './errors.ts'
import { type ActivationDType, type Gpu, native } from './native.ts'

/** Where a model runs. `cuda-sim` runs the CUDA kernels on the host, for tests and learning; slow. */
export type DeviceName =
  | 'auto'
  | 'cpu'
  | 'cuda'
  | `cuda:${number}`
  | 'cuda-sim'
  | `cuda-sim:${number}`

/** A device of this machine, or why there is none of its kind. */
export interface DeviceInfo {
  type: 'cpu' | 'cuda' | 'cuda-sim'
  /** As the system or the driver calls it. */
  name: string
  /** Whether models can run on it. */
  available: boolean
  /** In words: why this device was chosen, or why it is not available. */
  reason: string
  /** CPU: kernels in use, `baseline`, `avx2`, `avx2vnni`, `avx512`, `avx512vnni`, `avx512bf16` or `neon`. */
  isa?: string
  /** CPU: kernels this machine could use; the environment variable MOE_CPU_ISA picks one. */
  isas?: string[]
  /** CPU: threads that affinity and the cgroup's quota allow. */
  threads?: number
  /** GPU: its number, for `cuda:<number>`. */
  index?: number
  /** GPU: compute capability, such as 9. */
  capability?: number
  /** All of its memory. */
  memoryBytes?: number
}

/** A device, opened. */
export interface Device {
  info: DeviceInfo
  /** Undefined: the CPU. */
  gpu: Gpu | undefined
  /** CPU threads that may be used, by a GPU's host side, too. */
  threads: number
}

function cpuInfo(reason: string): DeviceInfo & { threads: number } {
  const { isa, isas, threads } = native().cpu()
  const name = os.cpus()[0]?.model.trim() ?? process.arch
  const memoryBytes = os.totalmem()
  return { type: 'cpu', name, available: true, reason, isa, isas, threads, memoryBytes }
}

function gpuInfo(type: 'cuda' | 'cuda-sim', index: number, reason: string): DeviceInfo {
  const { name, memoryBytes, capability } = native().gpus(type).gpus[index]!
  return { type, name, available: true, reason, index, capability, memoryBytes }
}

const openCpu = (reason: string): Device => {
  const info = cpuInfo(reason)
  return { info, gpu: undefined, threads: info.threads }
}

/** Throws ERR_MOE_CUDA_UNAVAILABLE, saying what is missing. */
function openGpu(type: 'cuda' | 'cuda-sim', index: number, reason: string): Device {
  const gpu = new (native().Device)(type, index)
  return { info: gpuInfo(type, index, reason), gpu, threads: native().cpu().threads }
}

/** Every device and whether it can be used; never throws. */
export async function devices(): Promise<DeviceInfo[]> {
  const missing = (type: 'cpu' | 'cuda', name: string, reason: string): DeviceInfo[] => [
    { type, name, available: false, reason },
  ]
  try {
    const { gpus, reason } = native().gpus('cuda')
    return [
      cpuInfo('always available'),
      ...(gpus.length === 0 ? missing('cuda', 'NVIDIA GPU', reason) : []),
      ...gpus.map((_, index) => {
        try {
          return openGpu('cuda', index, 'usable').info
        } catch (error) {
          return { ...gpuInfo('cuda', index, text(error)), available: false }
        }
      }),
    ]
  } catch (error) {
    const reason = text(error)
    return [...missing('cpu', process.arch, reason), ...missing('cuda', 'NVIDIA GPU', reason)]
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** The first GPU that opens, else the CPU; the reason names what was passed over. */
function openAuto(): Device {
  const { gpus, reason } = native().gpus('cuda')
  const refused: string[] = []
  for (const index of gpus.keys())
    try {
      return openGpu('cuda', index, ['the first usable GPU', ...refused].join('; '))
    } catch (error) {
      refused.push(`cuda:${index} ${text(error).replace(/^device: \S+ /, '')}`)
    }
  return openCpu(`no GPU: ${refused.join('; ') || reason}`)
}

/**
 * Opens the device that a `device` option means. `auto` takes the first GPU that can be used, else the CPU, and
 * does not throw where the addon loads.
 *
 * @throws {MoeError} ERR_MOE_OPTION for a name that is none, ERR_MOE_CUDA_UNAVAILABLE saying what is missing,
 *   ERR_MOE_NATIVE_LOAD
 */
export function openDevice(name: unknown = 'auto'): Device {
  if (name === 'cpu') return openCpu('asked for')
  if (name === 'auto') return openAuto()
  const match = typeof name === 'string' && /^(cuda|cuda-sim)(?::(\d{1,4}))?$/.exec(name)
  if (match) return openGpu(match[1] as 'cuda' | 'cuda-sim', Number(match[2] ?? 0), 'asked for')
  return badOption(
    'loadModel',
    'device',
    "'auto', 'cpu', 'cuda', 'cuda:<number>' or 'cuda-sim'",
    name,
  )
}

/** Element type of activations where none is asked for: what a GPU's matrix units take, and all of it on a CPU. */
export const activationDType = (
  { gpu }: Device,
  asked: 'auto' | ActivationDType = 'auto',
): ActivationDType => (asked === 'auto' ? (gpu ? 'bf16' : 'f32') : asked)

/** Bytes that can still be allocated: free memory, within the cgroup's limit. */
export function availableMemory(): number {
  const cgroup = (file: string): number => {
    try {
      return Number(readFileSync(`/sys/fs/cgroup/${file}`, 'utf8'))
    } catch {
      return Number.NaN
    }
  }
  const left = cgroup('memory.max') - cgroup('memory.current')
  const meminfo = (): number => {
    try {
      const match = /MemAvailable:\s+(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))
      return match ? 1024 * Number(match[1]) : os.freemem()
    } catch {
      return os.freemem()
    }
  }
  return Math.min(meminfo(), Number.isFinite(left) ? left : Number.POSITIVE_INFINITY)
}
