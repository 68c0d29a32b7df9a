import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { firstDifference } from '../../lib/bench/check.ts'
import { gatherGemm, ropeAttention } from '../../lib/bench/kernels/decode.ts'
import { normLinear, route } from '../../lib/bench/kernels/fused.ts'
import { type BenchHead, type BenchResult, benches } from '../../lib/bench/run.ts'
import { chooseIds, modelShapes, placeSlots, routings } from '../../lib/bench/shapes.ts'
import { Workbench } from '../../lib/bench/workbench.ts'
import { type DeviceName, openDevice } from '../../lib/device.ts'
import { native } from '../../lib/native.ts'
import { root } from '../support/golden.ts'

const cli = `${root}/dist/cli/main.js`
const simulator = native().gpus('cuda-sim')
const missing = simulator.gpus.length === 0 ? simulator.reason : ''

const devices: [DeviceName, missing: string][] = [
  ['cpu', ''],
  ['cuda-sim:0', missing],
]
for (const [device, reason] of devices)
  describe.skipIf(reason)(`moe-native bench on ${device} ${reason}`, () => {
    it.each(['bf16', 'f32'])('checks and times every kernel, %s', (dtype) => {
      const args = ['bench', '-d', device, '--models', 'tiny', '--tokens', '1,9', '--dtype', dtype]
      const ways = ['--routings', routings.join(','), '--seconds', '0', '--json']
      const lines = execFileSync(process.execPath, [cli, ...args, ...ways], {
        encoding: 'utf8',
        stdio: 'pipe',
      })
      const [head, ...rest] = lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
      const { ceilings } = head as BenchHead
      const results = rest as BenchResult[]
      for (const { op } of benches) {
        const own = results.filter((result) => result.op === op)
        expect(new Set(own.map(({ tokens }) => tokens)), op).toEqual(new Set([1, 9]))
      }
      for (const { bytesPerSecond, flopsPerSecond, readCeiling, share, bound, ...r } of results) {
        expect(r.min).toBeLessThanOrEqual(r.seconds)
        expect(r.seconds).toBeLessThanOrEqual(r.max)
        const [read, matrix] = [bytesPerSecond / readCeiling, flopsPerSecond / ceilings.matrix]
        expect(bytesPerSecond).toBeGreaterThan(0)
        expect(share).toBeCloseTo(Math.max(read, matrix), 9)
        expect(bound).toBe(read >= matrix ? 'read' : 'matrix')
      }
      expect(Object.keys(ceilings).sort()).toEqual(['copy', 'empty', 'matrix', 'read'])
    })
  })

it.skipIf(missing).each([normLinear, route, ropeAttention, gatherGemm])(
  `what $op times is one op on a GPU ${missing}`,
  async (kernel) => {
    const bench = new Workbench(openDevice('cuda-sim:0'), 'bf16', true)
    const request = { shape: modelShapes.tiny!, tokens: [1], routings: [routings[0]] }
    for await (const { op, record } of kernel.make(request, bench)) {
      const plan = new (native().Plan)(new (native().Arena)(bench.device.gpu))
      for (const one of record) one(plan)
      expect((await plan.time(1, 1)).ops).toEqual([op])
    }
  },
)

describe('a check', () => {
  const bench = new Workbench(openDevice('cpu'), 'f32', true)
  const out = (value: number) => ({ data: new Float32Array(64).fill(value), shape: [4, 16] })
  const one = (): [number, number] => [1, 1]
  it('lets rounding pass', () => {
    expect(firstDifference(bench, out(1 + 2 ** -23), 8, one)).toBeUndefined()
  })
  it.each([1.0001, 0, Number.NaN])('finds %d where 1 is right', (value) => {
    expect(firstDifference(bench, out(value), 8, one)).toMatch(/^at \[\d, \d+\]: .*, want 1$/)
  })
})

describe('moe-native bench', () => {
  it.each([
    [['nonsense'], /op must be one of groupedGemm/],
    [['--models', 'x'], /--models must be one of yuan/],
    [['--routings', 'x'], /--routings must be one of uniform/],
  ])('refuses %j', (args, message) => {
    const { status, stderr } = spawnSync(process.execPath, [cli, 'bench', '-d', 'cpu', ...args], {
      encoding: 'utf8',
    })
    expect(status).toBe(2)
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
