import { spawnSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { root } from '../support/golden.ts'

const readers = {
  ...{ safetensors: 400, index: 400, pickle: 5000, zip: 200, vmoe: 300 },
  ...{ sentencepiece: 200, tokenizerJson: 200, config: 2500, settings: 2500 },
  ...{ peft: 300, phatgoose: 300, template: 200, answer: 2500, schema: 300 },
  ...{ request: 100, hub: 30, mistakes: 300 },
}

// A few inputs of seed 1; .ci/run tries others for a minute, and scripts/fuzz.mjs as long as it is told.
it.each(Object.entries(readers))('%s answers or throws a MoeError', (name, runs) => {
  const args = ['scripts/fuzz.mjs', '--target', name, '--runs', String(runs), '--seconds', '50']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    ...{ cwd: root, encoding: 'utf8' },
  })
  expect(stderr).not.toContain('finding')
  // Some inputs are valid, or nothing behind the first check is reached.
  const [, executions, refused] = /: (\d+) executions in .*, (\d+) refused/.exec(stdout) ?? []
  expect(Number(executions)).toBeGreaterThan(Number(refused))
  // Any text is an answer.
  if (name !== 'answer') expect(Number(refused)).toBeGreaterThan(0)
  expect(status).toBe(0)
})

it('a target that is none is refused', () => {
  const args = ['scripts/fuzz.mjs', '--target', 'reader']
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' })
  expect(stderr).toContain('fuzz: --target must be of ops, weights, safetensors')
  expect(status).toBe(2)
})
