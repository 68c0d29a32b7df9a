import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'

/** What is seen of a machine without the addon. */
export interface Machine {
  node: string
  napi: string
  platform: string
  /** `glibc 2.36` or `musl`; undefined elsewhere than on Linux. */
  libc?: string
  cpu: string
  /** Logical cores of the machine. */
  cores: number
  totalBytes: number
  /** Of the NVIDIA kernel module. */
  driver?: string
  /** NVIDIA GPUs on the PCI bus; Linux only. */
  nvidiaDevices: number
  /** Versions of the optional packages that are installed. */
  packages: Record<string, string | undefined>
  /** Settings of the environment that change what runs. */
  settings: Record<string, string>
}

const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function libc(): string | undefined {
  if (process.platform !== 'linux') return undefined
  const { header } = process.report.getReport() as unknown as {
    header: { glibcVersionRuntime?: string }
  }
  return header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : 'musl'
}

/** Display controllers of NVIDIA. */
function nvidiaDevices(): number {
  const bus = '/sys/bus/pci/devices'
  if (!existsSync(bus)) return 0
  return readdirSync(bus).filter(
    (device) =>
      textOf(path.join(bus, device, 'vendor')).trim() === '0x10de' &&
      textOf(path.join(bus, device, 'class')).startsWith('0x03'),
  ).length
}

/** The version of a package, found as an import would find it. */
function versionOf(name: string): string | undefined {
  try {
    const require = createRequire(import.meta.url)
    for (const folder of require.resolve.paths(name) ?? []) {
      const text = textOf(path.join(folder, name, 'package.json'))
      if (text !== '') return JSON.parse(text).version
    }
  } catch {
    // A package that cannot be read is as good as none.
  }
  return undefined
}

const settingNames = ['MOE_CPU_ISA', 'MOE_CUDA', 'MOE_CUDA_PDL', 'CUDA_VISIBLE_DEVICES']

export function readMachine(): Machine {
  const driver = /Kernel Module.*?\s(\d+\.\d[\d.]*)\s/.exec(textOf('/proc/driver/nvidia/version'))
  const used = libc()
  return {
    node: process.version,
    napi: process.versions.napi ?? '',
    platform: `${process.platform}-${process.arch}`,
    ...(used !== undefined && { libc: used }),
    cpu: os.cpus()[0]?.model.trim() ?? process.arch,
    cores: os.cpus().length,
    totalBytes: os.totalmem(),
    ...(driver && { driver: driver[1]! }),
    nvidiaDevices: nvidiaDevices(),
    packages: Object.fromEntries(
      ['@huggingface/hub', 'sharp'].map((name) => [name, versionOf(name)]),
    ),
    settings: Object.fromEntries(
      settingNames.flatMap((name) => {
        const value = process.env[name]
        return value === undefined ? [] : [[name, value]]
      }),
    ),
  }
}
