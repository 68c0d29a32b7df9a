import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { root } from '../support/golden.ts'

const program = `${root}/build-cmake/${process.platform}-${process.arch}/moe_sim_planted`
const simulated = process.platform === 'linux' && process.arch === 'x64'

/** [case, planted | right, schedule, result][] */
const results = (): string[][] =>
  execFileSync(program, { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.split('\t'))

describe.skipIf(!simulated)('the simulator (x86-64 Linux)', () => {
  const lines = existsSync(program) ? results() : []
  const names = [...new Set(lines.map(([name]) => name!))]

  // Under a sanitizer the compiler does not tell the simulator of loads and stores.
  it('has its program', () => expect(names.length).toBeGreaterThan(25))

  it.each(names)('catches: %s', (name) => {
    const of = (kind: string) =>
      lines.filter((line) => line[0] === name && line[1] === kind).map((line) => line[3]!)
    expect(of('right')).toEqual(['ok', 'ok', 'ok', 'ok'])
    expect(of('planted').some((result) => result !== 'ok')).toBe(true)
  })
})
