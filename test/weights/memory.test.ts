import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { root } from '../support/golden.ts'

it.skipIf(process.platform !== 'linux')(
  'loading never holds the unpacked model, in whatever way the file has it',
  () => {
    const args = ['bench/load_memory.mjs', '--experts', '4', '--size', '2560', '--json']
    const results = JSON.parse(
      execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }),
    )
    expect(results.map(({ format }: { format: string }) => format)).toEqual([
      ...['int4g32', 'int4g128z', 'int4g128z', 'mxfp4', 'fp8g128'],
    ])
    for (const { file, packed, before, most, unpacked } of results) {
      const room = 30e6 // for what is under way: pages of the file, JavaScript, the pool
      expect(unpacked, file).toBeGreaterThan(packed + room)
      expect(most - before, file).toBeLessThan(1.05 * packed + room)
    }
  },
)
