import { readFileSync } from 'node:fs'
import os from 'node:os'
import { badOption, MoeError } from './errors.ts'
import { native } from './native.ts'

/** Where a model runs. */
export type DeviceName = 'auto' | 'cpu' | 'cuda' | `cuda:${number}` | 'cuda-sim'

export interface DeviceInfo {
  type: 'cpu' | 'cuda' | 'cuda-sim'
  name: string
  /** Whether models can run on it. */
  available: boolean
  /** In words: why this device was chosen, or why it is not available. */
  reason: string
  /** Kernels in use: baseline | avx2 | avx512 | avx512bf16. */
  isa?: string
  /** Kernels this machine could use; the environment variable MOE_CPU_ISA picks one. */
  isas?: string[]
  threads?: number
  memoryBytes?: number
}

/** Why there is no GPU backend to ask. */
const noBackend = 'this build has no CUDA backend'

/** The CPU as a device. */
export function cpuDevice(reason: string): DeviceInfo {
  const { isa, isas, threads } = native().cpu()
  const name = os.cpus()[0]?.model.trim() ?? process.arch
  return {
    type: 'cpu',
    name,
    available: true,
    reason,
    isa,
    isas,
    threads,
    memoryBytes: os.totalmem(),
  }
}

/** Every device and whether it can be used; never throws. */
export async function devices(): Promise<DeviceInfo[]> {
  const cuda: DeviceInfo = { type: 'cuda', name: 'NVIDIA GPU', available: false, reason: noBackend }
  try {
    return [cpuDevice('always available'), cuda]
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return [{ type: 'cpu', name: process.arch, available: false, reason }, cuda]
  }
}

/**
 * The device that a `device` option means. `auto` never throws.
 *
 * @throws {MoeError} ERR_MOE_OPTION for a name that is none, ERR_MOE_CUDA_UNAVAILABLE saying what is missing
 */
export function chooseDevice(name: unknown = 'auto'): DeviceInfo {
  if (name === 'cpu') return cpuDevice('asked for')
  if (name === 'auto') return cpuDevice(`no GPU: ${noBackend}`)
  if (typeof name === 'string' && /^cuda(:\d+|-sim)?$/.test(name))
    throw new MoeError(
      'ERR_MOE_CUDA_UNAVAILABLE',
      `device: ${name} must be usable, got: ${noBackend}`,
    )
  return badOption(
    'loadModel',
    'device',
    "'auto', 'cpu', 'cuda', 'cuda:<number>' or 'cuda-sim'",
    name,
  )
}

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
