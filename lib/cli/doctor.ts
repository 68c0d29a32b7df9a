import os from 'node:os'
import { CeilingProbe } from '../bench/ceilings.ts'
import { availableMemory, type DeviceInfo, devices, openDevice } from '../device.ts'
import { native } from '../native.ts'
import { readVersion } from '../version.ts'
import { advise } from './doctor_advice.ts'
import { type Machine, readMachine } from './machine.ts'
import { parse, printJson } from './options.ts'
import { size } from './progress.ts'
import { listItem, rows } from './rows.ts'

export const help = `moe-native doctor: what this machine has, what it does, and what is missing

  moe-native doctor
  moe-native doctor --json

      --no-probe       do not measure memory bandwidth and matrix rate, which
                       takes a second or two
      --json           print one JSON object

Ends with 1 where nothing can run.`

/** What a device does now, by all of its threads. */
interface Measured {
  readBytesPerSecond: number
  /** Multiplications and additions a second, in the type that matrices are multiplied in. */
  f32FlopsPerSecond?: number
  bf16FlopsPerSecond?: number
}

export interface Diagnosis extends Machine {
  version: string
  /** Of the binary: why it does not load. */
  failure?: string
  devices: (DeviceInfo & { measured?: Measured })[]
  availableBytes: number
  advice: string[]
}

async function measureCpu(threads: number): Promise<Measured> {
  const rate = async (kind: 'read' | 'f32' | 'bf16_dot') => {
    const { work, seconds } = await native().probe(kind, threads)
    return work / seconds
  }
  const read = await rate('read')
  const f32 = await rate('f32')
  const bf16 = await rate('bf16_dot')
  return {
    ...{ readBytesPerSecond: read, f32FlopsPerSecond: f32 },
    ...(bf16 > 0 && { bf16FlopsPerSecond: bf16 }), // 0: there are no such instructions
  }
}

async function measureGpu(index: number): Promise<Measured> {
  const probe = await CeilingProbe.make(openDevice(`cuda:${index}`), 'bf16', false)
  try {
    const { read, matrix } = await probe.all()
    return { readBytesPerSecond: read, bf16FlopsPerSecond: matrix }
  } finally {
    probe.release()
  }
}

async function measured(device: DeviceInfo, signal: AbortSignal): Promise<Measured | undefined> {
  signal.throwIfAborted()
  if (!device.available) return undefined
  return device.type === 'cpu' ? measureCpu(device.threads!) : measureGpu(device.index!)
}

async function diagnose(probing: boolean, signal: AbortSignal): Promise<Diagnosis> {
  const machine = readMachine()
  const found = await devices()
  const all: Diagnosis['devices'] = []
  for (const device of found) {
    const rates = probing ? await measured(device, signal) : undefined
    all.push(rates ? { ...device, measured: rates } : device)
  }
  const broken = found.find(({ type, available }) => type === 'cpu' && !available)
  return {
    version: readVersion(),
    ...machine,
    ...(broken && { failure: broken.reason }),
    devices: all,
    availableBytes: availableMemory(),
    advice: advise(machine, found),
  }
}

const rate = (flops: number): string =>
  flops >= 1e12 ? `${(flops / 1e12).toFixed(1)} TFLOP/s` : `${(flops / 1e9).toFixed(0)} GFLOP/s`

function speedText({
  readBytesPerSecond,
  f32FlopsPerSecond,
  bf16FlopsPerSecond,
}: Measured): string {
  return [
    `reads ${(readBytesPerSecond / 1e9).toFixed(1)} GB/s`,
    ...(f32FlopsPerSecond === undefined ? [] : [`${rate(f32FlopsPerSecond)} in f32`]),
    ...(bf16FlopsPerSecond === undefined ? [] : [`${rate(bf16FlopsPerSecond)} in bf16`]),
  ].join(', ')
}

function deviceRows(
  { type, name, available, reason, measured, ...device }: Diagnosis['devices'][number],
  { cores }: Machine,
): [string, string][] {
  const named =
    type === 'cpu' ? 'cpu' : `cuda${device.index === undefined ? '' : `:${device.index}`}`
  if (!available) return [[named, `not usable: ${reason}`]]
  const what =
    type === 'cpu'
      ? `${name}, ${device.threads} of ${cores} logical cores, kernels ${device.isa} (of ${device.isas!.join(', ')})`
      : `${name}, compute capability ${device.capability!.toFixed(1)}, ${size(device.memoryBytes!)}`
  return [[named, what], ...(measured ? [['', speedText(measured)] as [string, string]] : [])]
}

export async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values } = parse(args, {
    'no-probe': { type: 'boolean' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  })
  if (values.help) return void process.stdout.write(`${help}\n`)
  const found = await diagnose(values['no-probe'] !== true, signal)
  if (found.failure !== undefined) process.exitCode = 1
  if (values.json) return printJson(found)
  const { driver, nvidiaDevices, packages } = found
  const installed = (name: string) => `${packages[name] ?? 'not installed'}`
  process.stdout.write(
    rows([
      ['moe-native', found.version],
      ['node', `${found.node}, Node-API ${found.napi}`],
      [
        'system',
        `${os.type()} ${os.release()}, ${found.platform}${found.libc ? `, ${found.libc}` : ''}`,
      ],
      ['memory', `${size(found.totalBytes)}, ${size(found.availableBytes)} can be used now`],
      ...found.devices.flatMap((device) => deviceRows(device, found)),
      [
        'driver',
        driver ?? (nvidiaDevices > 0 ? 'NVIDIA GPU without a driver' : 'no NVIDIA driver'),
      ],
      [
        'optional',
        `@huggingface/hub ${installed('@huggingface/hub')}, sharp ${installed('sharp')}`,
      ],
    ]),
  )
  process.stdout.write('\n')
  if (found.advice.length === 0) process.stdout.write('Nothing is missing.\n')
  for (const text of found.advice) process.stdout.write(listItem(text))
}
