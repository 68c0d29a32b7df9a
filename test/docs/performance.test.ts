import { execFileSync } from 'node:child_process'
import { it } from 'vitest'
import { root } from '../support/golden.ts'

it('the table and the chart of the performance page are those of the measurements', () => {
  execFileSync(process.execPath, ['bench/performance.mjs', '--check'], { cwd: root })
})
