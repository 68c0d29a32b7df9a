import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, it } from 'vitest'
import { root } from '../support/golden.ts'

it('the predicted times are what the model gives for the recorded launches', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-predicted-'))
  execFileSync(process.execPath, [`${root}/bench/predict/predict.mjs`, '--out', folder])
  const made = (file: string) => readFileSync(path.join(folder, file), 'utf8')
  const committed = (file: string) => readFileSync(path.join(root, file), 'utf8')
  expect(made('predicted.json')).toBe(committed('bench/predict/predicted.json'))
  expect(made('predicted.md')).toBe(committed('docs/predicted.md'))
  rmSync(folder, { recursive: true })
})
