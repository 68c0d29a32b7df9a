import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { root } from '../support/golden.ts'

it('the table of formats is that of the measurement', () => {
  const results = 'bench/results/2026-11-26-zen4/quality.json'
  const args = ['bench/quality.mjs', '--table', results]
  const table = execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
  expect(table.split('\n').length).toBeGreaterThan(10)
  expect(readFileSync(`${root}/docs/quantization.md`, 'utf8')).toContain(table)
})
