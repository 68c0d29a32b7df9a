import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { benches } from '../../lib/bench/run.ts'
import { chooseIds, modelShapes, placeSlots, routings } from '../../lib/bench/shapes.ts'
import { native } from '../../lib/native.ts'
import { root } from '../support/golden.ts'

const cli = `${root}/dist/cli/main.js`
const simulator = native().gpus('cuda-sim').gpus.length > 0

describe.each(['cpu', 'cuda-sim:0'])('moe-native bench on %s', (device) => {
  const there = device === 'cpu' || simulator
  it.skipIf(!there).each(['bf16', 'f32'])('checks and times every kernel, %s', (dtype) => {
    const args = ['bench', '-d', device, '--models', 'tiny', '--tokens', '1,9', '--dtype', dtype]
    const ways = ['--routings', routings.join(','), '--seconds', '0', '--json']
    const { ceilings, results } = JSON.parse(
      execFileSync(process.execPath, [cli, ...args, ...ways], { encoding: 'utf8', stdio: 'pipe' }),
    )
    expect(new Set(results.map(({ op }: { op: string }) => op))).toEqual(
      new Set(benches.map(({ op }) => op)),
    )
    for (const result of results) {
      expect(result.bytesPerSecond).toBeGreaterThan(0)
      expect(result.share).toBeGreaterThan(0)
    }
    expect(Object.keys(ceilings).sort()).toEqual(['copy', 'empty', 'matrix', 'read'])
  })
})

describe('moe-native bench', () => {
  it.each([
    [['nonsense'], /op must be one of groupedGemm/],
    [['--models', 'x'], /model must be one of yuan/],
    [['--routings', 'x'], /routing must be one of uniform/],
  ])('refuses %j', (args, message) => {
    const { status, stderr } = spawnSync(process.execPath, [cli, 'bench', '-d', 'cpu', ...args], {
      encoding: 'utf8',
    })
    expect(status).toBe(1)
    expect(stderr).toMatch(message)
  })
})

describe.each(routings)('routing %s', (name) => {
  it('chooses distinct experts and places every FFN slot', () => {
    const { kinds } = modelShapes.moepp!
    const ids = chooseIds(name, 50, kinds, 2, 1)
    for (let t = 0; t < 50; t++) expect(ids[2 * t]).not.toBe(ids[2 * t + 1])
    const { rows, offsets, routed, distinct } = placeSlots(ids, kinds)
    const placed = Array.from(rows).filter((row) => row >= 0)
    expect(placed.sort((a, b) => a - b)).toEqual(Array.from({ length: routed }, (_, i) => i))
    expect(offsets.at(-1)).toBe(routed)
    expect(distinct).toBeGreaterThan(0)
    if (name === 'one') expect([distinct, routed]).toEqual([2, 100])
  })
})
