import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'

// Inside the repository, so that its tests find vitest.
const folder = `${root}/build/summary-${process.pid}`
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** What .ci/run ends with for one test file. */
function summary(source: string): { status: number | null; lines: string[] } {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}/vitest.config.mjs`, "export default { test: { name: 'one' } }")
  const file = `import { beforeAll, describe, expect, it } from 'vitest'\n${source}`
  writeFileSync(`${folder}/a.test.mjs`, file)
  const node = (...args: string[]) =>
    spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' })
  const vitest = `${root}/node_modules/vitest/vitest.mjs`
  node(vitest, 'run', '--root', folder, `--reporter=${root}/scripts/reporter.mjs`)
  const { status, stdout } = node(`${root}/scripts/summary.mjs`, 'build/test-report.json')
  return { status, lines: stdout.trim().split('\n') }
}

describe('the summary of .ci/run', () => {
  it.each([
    ['passes', "it('a', () => {}); it('b', () => {})", 0, '2 passed, 0 failed'],
    ['a failure', "it('a', () => {}); it('b', () => expect(1).toBe(2))", 1, '1 passed, 1 failed'],
    ['a skip', "it('a', () => {}); it.skip('b')", 0, '1 passed, 0 failed, 1 skipped'],
    ['a file that does not load', "throw new Error('broken')", 1, '0 passed, 1 failed'],
    [
      'a hook that fails',
      "it('a', () => {}); describe('d', () => { beforeAll(() => { throw new Error('x') }); it('b', () => {}) })",
      1,
      '1 passed, 1 failed, 1 skipped',
    ],
    [
      'an error outside of tests',
      "it('a', () => { void Promise.reject(new Error('lost')) })",
      1,
      '1 passed, 1 failed',
    ],
  ])('%s', (_, source, status, last) => {
    const ended = summary(source)
    expect(ended.lines.at(-1)).toBe(last)
    expect(ended.status).toBe(status)
    if (status === 0) expect(ended.lines.at(-2)).toMatch(/^project one: \d+ s, 2 tests$/)
  })

  it('of a run that left no report is a failure', () => {
    const args = [`${root}/scripts/summary.mjs`, `${folder}/nothing.json`]
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    expect([status, stdout]).toEqual([1, ''])
  })
})
