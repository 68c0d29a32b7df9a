import { afterEach, describe, expect, it, vi } from 'vitest'
import { openDevice } from '../lib/device.ts'
import { devices, loadModel, MoeError } from '../lib/index.ts'
import * as addon from '../lib/native.ts'
import { failure } from './support/files.ts'

const tooOld = (major: number) =>
  `device: cuda must have compute capability 8.0 or newer, got ${major}.0 (GPU)`

/** A machine with these GPUs: undefined opens, a text is why it does not. */
function machine(gpus: (string | undefined)[], reason = 'no NVIDIA driver'): void {
  const info = { memoryBytes: 1, capability: 9, driver: 13, runtime: 13 }
  class Device {
    constructor(_: string, index: number) {
      if (gpus[index] !== undefined) throw new MoeError('ERR_MOE_CUDA_UNAVAILABLE', gpus[index])
    }
    freeMemory(): number {
      return 1
    }
  }
  vi.spyOn(addon, 'native').mockReturnValue({
    Device,
    cpu: () => ({ isa: 'avx2', isas: ['avx2'], threads: 2 }),
    gpus: () => ({ reason, gpus: gpus.map((_, i) => ({ ...info, name: `GPU ${i}` })) }),
  } as unknown as addon.Native)
}

vi.mock('../lib/native.ts', { spy: true })
afterEach(() => vi.restoreAllMocks())

describe("device 'auto'", () => {
  it('takes the first GPU where it is usable', () => {
    machine([undefined, undefined])
    expect(openDevice().info).toMatchObject({ index: 0, reason: 'the first usable GPU' })
  })

  it('passes over GPUs that cannot be used, and says why', () => {
    machine([tooOld(7), 'device: cuda:1 must be usable, got: out of memory', undefined])
    const { info, gpu } = openDevice('auto')
    expect(gpu).toBeDefined()
    expect(info).toMatchObject({ type: 'cuda', index: 2, name: 'GPU 2' })
    expect(info.reason).toBe(
      'the first usable GPU; cuda:0 must have compute capability 8.0 or newer, got 7.0 (GPU); ' +
        'cuda:1 must be usable, got: out of memory',
    )
  })

  it('takes the CPU when no GPU can be used, and names every one', () => {
    machine([tooOld(7), tooOld(6)])
    const { info, gpu } = openDevice('auto')
    expect(gpu).toBeUndefined()
    expect(info.type).toBe('cpu')
    expect(info.reason).toMatch(/^no GPU: cuda:0 .* got 7\.0 .*; cuda:1 .* got 6\.0/)
  })

  it('says what is missing where there is none', () => {
    machine([])
    expect(openDevice('auto').info).toMatchObject({
      type: 'cpu',
      reason: 'no GPU: no NVIDIA driver',
    })
  })
})

describe('devices', () => {
  it('lists every GPU and whether it can be used', async () => {
    machine([tooOld(7), undefined])
    expect(await devices()).toMatchObject([
      { type: 'cpu', available: true },
      { type: 'cuda', index: 0, available: false, reason: tooOld(7) },
      { type: 'cuda', index: 1, available: true, reason: 'usable' },
    ])
  })
})

const cyclic: Record<string, unknown> = {}
cyclic.self = cyclic
const revoked = Proxy.revocable({}, {})
revoked.revoke()
const throws = { toJSON: () => JSON.parse('{') }

const odd: unknown[] = [
  ...['gpu', 'CUDA', 'cuda:', 'cuda:-1', 'cuda:1.5', 'cuda:99999', 'cpu:0', ' cpu', ''],
  ...[null, 0, 5n, Number.NaN, true, {}, [], ['cpu'], Symbol('cpu'), () => 'cpu', new Date(0)],
  ...[cyclic, revoked.proxy, throws, { big: 5n }, { toJSON: () => undefined }, new Uint8Array(9)],
]
it.each(odd.map((device) => ({ device })))(
  'refuses a device that is none, %#',
  async ({ device }) => {
    const error = await failure(() => loadModel('x', { device: device as never }))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
    expect(error.message).toMatch(/^loadModel: device must be 'auto', 'cpu', .*, got /)
  },
)
