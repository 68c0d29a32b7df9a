import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { root } from '../support/golden.ts'

interface Limits {
  seconds: number
  env: NodeJS.ProcessEnv
  onLine?: (line: string) => void
}
type Limited = (
  command: string,
  args: string[],
  limits: Limits,
) => Promise<{ status: unknown; log: string }>
const { limited } = (await import(`${root}/scripts/gpu_check/limited.mjs`)) as { limited: Limited }
const { parts, stepsOf } = (await import(`${root}/scripts/gpu_check/steps.mjs`)) as {
  parts: string[]
  stepsOf: (
    part: string,
    device: string,
    out: string,
  ) => { name: string; seconds: number; tests?: string[] }[]
}

afterEach(() => void vi.useRealTimers())

it.skipIf(process.platform === 'win32')(
  'a step of the GPU check ends at its limit with all it has started, and what it said stays',
  async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-limited-'))
    const lines: string[] = []
    // A child in the background that would outlive its parent.
    const script = `sleep 600 & echo $! > ${folder}/pid; echo first; sleep 600`
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const { status, log } = await limited('bash', ['-c', script], {
      ...{ seconds: 60, env: process.env },
      onLine: (line) => {
        lines.push(line)
        vi.advanceTimersByTime(60_000)
      },
    })
    vi.useRealTimers()
    expect(status).toBe('cut')
    expect([lines, log]).toEqual([['first'], 'first\n'])
    const child = Number(readFileSync(path.join(folder, 'pid'), 'utf8'))
    const running = () => {
      const stat = `/proc/${child}/stat`
      return existsSync(stat) && !/ Z /.test(readFileSync(stat, 'utf8')) // a dead one may wait for init
    }
    while (running()) await new Promise((resolve) => setTimeout(resolve, 10))
    rmSync(folder, { recursive: true })
  },
)

it('the steps of a part of the GPU check fit ten minutes and name tests that are there', () => {
  for (const part of parts)
    for (const device of ['cuda', 'cuda-sim']) {
      const steps = stepsOf(part, device, 'out')
      expect(steps.reduce((sum, { seconds }) => sum + seconds, 0)).toBeLessThanOrEqual(585)
      for (const { tests = [] } of steps)
        for (const file of tests.filter((name) => name.startsWith('test/')))
          expect(existsSync(path.join(root, file)), file).toBe(true)
    }
})
