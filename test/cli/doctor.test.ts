import { describe, expect, it } from 'vitest'
import { advise } from '../../lib/cli/doctor_advice.ts'
import type { Machine } from '../../lib/cli/machine.ts'
import { listItem, rows } from '../../lib/cli/rows.ts'
import type { DeviceInfo } from '../../lib/device.ts'
import { cliIn } from '../support/cli.ts'

const packages = { '@huggingface/hub': '2.0.0', sharp: '0.34.0' }
const machine: Machine = {
  ...{ node: 'v22', napi: '10', platform: 'linux-x64', cpu: 'Zen 4', cores: 2, totalBytes: 1 },
  ...{ nvidiaDevices: 0, packages, settings: {} },
}
const isas = ['baseline', 'avx2', 'avx512']
const cpu: DeviceInfo = {
  ...{ type: 'cpu', name: 'Zen 4', available: true, reason: '', isa: 'avx512', isas, threads: 2 },
}
const noGpu = (reason: string): DeviceInfo => ({
  ...{ type: 'cuda', name: 'NVIDIA GPU', available: false, reason },
})
const noBackend = noGpu('this build has no CUDA backend (libmoe_cuda.so)')

describe('what doctor advises', () => {
  it.each<[string, Partial<Machine>, DeviceInfo[], RegExp[]]>([
    ['a machine that has it all', {}, [cpu, noBackend], []],
    [
      'a binary that does not load',
      {},
      [{ type: 'cpu', name: 'x64', available: false, reason: 'native: a binary …' }, noBackend],
      [/^Nothing can run: native: a binary/],
    ],
    [
      'a GPU without a driver',
      { nvidiaDevices: 1 },
      [cpu, noBackend],
      [/no driver: install version 580/],
    ],
    [
      'an old driver',
      { nvidiaDevices: 1, driver: '550.54' },
      [cpu, noGpu('no driver')],
      [/driver 550\.54 is older .* 580/],
    ],
    [
      'a build for the CPU',
      { nvidiaDevices: 1, driver: '580.65' },
      [cpu, noBackend],
      [/this build is for the CPU: .*nvcc 13/],
    ],
    [
      'GPUs that are hidden',
      { driver: '590.1', settings: { CUDA_VISIBLE_DEVICES: '7' } },
      [cpu, noGpu('no NVIDIA GPU')],
      [/CUDA_VISIBLE_DEVICES=7 hides/],
    ],
    [
      'GPUs that are switched off',
      { driver: '590.1', settings: { MOE_CUDA: 'off' } },
      [cpu, noGpu('switched off by MOE_CUDA=off')],
      [/unset MOE_CUDA/],
    ],
    [
      'a GPU that is too old',
      { driver: '590.1' },
      [cpu, noGpu('device: cuda must have compute capability 8.0')],
      [/not usable: device: cuda must have compute capability/],
    ],
    ['a GPU that works', { driver: '590.1' }, [cpu, { ...noBackend, available: true }], []],
    [
      'slower kernels than there are',
      { settings: { MOE_CPU_ISA: 'avx2' } },
      [{ ...cpu, isa: 'avx2' }],
      [/MOE_CPU_ISA=avx2 .*machine has avx512/],
    ],
    ['an old CPU', {}, [{ ...cpu, isa: 'baseline', isas: ['baseline'] }], [/no AVX2/]],
    ['a part of the cores', { cores: 8 }, [cpu], [/^2 of 8 cores/]],
    [
      'a translated Node',
      { platform: 'darwin-x64', cpu: 'Apple M3' },
      [cpu],
      [/translated: install Node for arm64/],
    ],
    [
      'packages that are missing',
      { packages: {} },
      [cpu],
      [/npm install @huggingface\/hub/, /npm install sharp/],
    ],
  ])('of %s', (_, has, devices, expected) => {
    const advice = advise({ ...machine, ...has }, devices)
    expect(advice).toHaveLength(expected.length)
    for (const [i, pattern] of expected.entries()) expect(advice[i]).toMatch(pattern)
  })
})

it('lines are cut between words at 80 columns, and names stand before the first', () => {
  const text = `${'word '.repeat(30)}${'x'.repeat(90)} end`
  const lines = rows([['name', text]])
    .split('\n')
    .slice(0, -1)
  expect(lines[0]).toMatch(/^name {10}word/)
  for (const line of lines.slice(1)) expect(line).toMatch(/^ {14}\S/)
  expect(lines.map((line) => line.trim()).join(' ')).toBe(`name          ${text}`)
  expect(lines.filter((line) => line.length > 80)).toHaveLength(1) // the word that is longer
  expect(listItem('a b')).toBe('- a b\n')
})

describe('moe-native doctor', () => {
  it('says what there is, and measures it', async () => {
    const { code, stdout } = await cliIn({ MOE_CPU_ISA: 'baseline' }, 'doctor', '--json')
    expect(code).toBe(0)
    const found = JSON.parse(stdout)
    expect(found).toMatchObject({
      ...{ node: process.version, platform: `${process.platform}-${process.arch}` },
      devices: [{ type: 'cpu', available: true, isa: 'baseline' }, {}],
    })
    const { measured, threads } = found.devices[0]
    expect(threads).toBeGreaterThan(0)
    expect(measured.readBytesPerSecond).toBeGreaterThan(0)
    expect(measured.f32FlopsPerSecond).toBeGreaterThan(0)
    expect(measured).not.toHaveProperty('bf16FlopsPerSecond')
    expect(found.availableBytes).toBeGreaterThan(0)
  })

  it('prints at most 80 columns', async () => {
    const { code, stdout, stderr } = await cliIn({}, 'doctor', '--no-probe')
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^moe-native +\d+\.\d+\.\d+/)
    expect(stdout).toMatch(/^cpu +.+ kernels \w+/m)
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([])
  })
})
