import { execFileSync } from 'node:child_process'
import { it } from 'vitest'
import { root } from '../support/golden.ts'

it.each([
  ['the table and the chart of performance', 'bench/performance.mjs'],
  ['the times of kernels', 'bench/kernel_tables.mjs'],
  ['the memory of models', 'bench/model_memory.mjs'],
  ['the pictures of kernels', 'docs/pictures/draw.mjs'],
])('%s in the documentation are what their program makes', (_, program) => {
  execFileSync(process.execPath, [program, '--check'], { cwd: root })
})
