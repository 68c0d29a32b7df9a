import { afterEach, describe, expect, it, vi } from 'vitest'
import { deviceText } from '../../lib/cli/device.ts'
import { duration, progressBar } from '../../lib/cli/progress.ts'
import { demoModel, loadModel } from '../../lib/index.ts'

const cleared = '\r\x1b[K'

/** A terminal that keeps what is written. */
function terminal() {
  const lines: string[] = []
  return { lines, isTTY: true, write: (text: string) => lines.push(text) > 0 }
}

describe('the bar', () => {
  afterEach(() => void vi.useRealTimers())
  it('draws the start and the end, and clears the line', () => {
    const { lines, ...stream } = terminal()
    {
      using bar = progressBar('loading', false, stream)
      bar.update(0, 4000)
      bar.update(1000, 4000) // too soon after the last one
      bar.update(4000, 4000)
    }
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatch(/loading ░+ 0 B of 4.0 KB/)
    expect(lines[1]).toMatch(/loading █+ 4.0 KB of 4.0 KB/)
    expect(lines[2]).toBe(cleared)
  })

  it('says how long it will take, once that is known', () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const { lines, ...stream } = terminal()
    using bar = progressBar('loading', false, stream)
    bar.update(1000, 9000) // there before
    vi.advanceTimersByTime(1000)
    bar.update(2000, 9000)
    vi.advanceTimersByTime(3000)
    bar.update(3000, 9000)
    bar.update(9000, 9000)
    expect(lines.map((line) => /, (.*) left/.exec(line)?.[1])).toEqual([
      ...[undefined, undefined, '12 s', undefined],
    ])
  })

  it.each([
    [0.1, '1 s'],
    [59, '59 s'],
    [59.7, '1 min'],
    [3599, '1 h 0 min'],
    [7500, '2 h 5 min'],
  ])('%f seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text))

  it('clears the line when the work fails, too', () => {
    const { lines, ...stream } = terminal()
    expect(() => {
      using bar = progressBar('converting', false, stream)
      bar.update(1, 2)
      throw new Error('enough')
    }).toThrow('enough')
    expect(lines.at(-1)).toBe(cleared)
  })

  it.each([
    ['quiet', true, true],
    ['in a pipe', false, false],
  ])('writes nothing %s', (_, quiet, isTTY) => {
    const { lines, ...stream } = terminal()
    {
      using bar = progressBar('loading', quiet, { ...stream, isTTY })
      bar.update(1, 1)
    }
    expect(lines).toEqual([])
  })

  it('of a model ends at the last byte', async () => {
    const seen: [number, number][] = []
    await using model = await loadModel(demoModel, {
      device: 'cpu',
      maxTokens: 32,
      onProgress: ({ loadedBytes, totalBytes }) => seen.push([loadedBytes, totalBytes]),
    })
    expect(model.parameters.total).toBeGreaterThan(0)
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.at(-1)![0]).toBe(seen.at(-1)![1])
  })
})

describe('the device of a text', () => {
  it('is named with what it has: kernels on a CPU, a compute capability on a GPU', () => {
    const shared = { available: true, reason: '' }
    const cpu = { ...shared, type: 'cpu', name: 'Zen 4', isa: 'avx512bf16' } as const
    expect(deviceText(cpu, 'f32')).toBe('Zen 4 (avx512bf16, f32)')
    const gpu = { ...shared, type: 'cuda', name: 'NVIDIA H100', index: 0, capability: 9 } as const
    expect(deviceText(gpu, 'bf16')).toBe('NVIDIA H100 (compute capability 9.0, bf16)')
  })
})
