import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Arena, type Gpu, native, type Tensor } from '../../lib/native.ts'
import * as ops from '../../lib/ops/index.ts'
import { root } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'

const H = 4
const numbers = (rows: number) => Float32Array.from({ length: rows * H }, (_, i) => i + 1)

/** A plan that turns the order of its rows around; `more` rows of other memory. */
function turned(arena: Arena, rows: number, more = 0) {
  const plan = new (native().Plan)(arena)
  const x = plan.input('x', [rows, H], 'f32')
  const out = ops.gatherRows(plan, { x, rows: plan.input('rows', [rows], 'i32') }).out
  plan.output('out', out)
  if (more > 0) {
    const other = { x, rows: plan.input('more', [more], 'i32') }
    plan.output('other', ops.gatherRows(plan, other).out)
  }
  const order = Int32Array.from({ length: rows }, (_, r) => rows - 1 - r)
  return {
    out,
    /** `behind`: how far the rows lie behind where they are. */
    run: async (from: Float32Array | Tensor, behind = 0): Promise<number[]> => {
      const inputs = { x: from, rows: order.map((r) => r + behind) }
      const results = await plan.run(more ? { ...inputs, more: new Int32Array(more) } : inputs, 1)
      return Array.from(results.out as Float32Array)
    },
  }
}

const devices: [name: string, gpu: Gpu | undefined][] = [['the CPU', undefined]]
for (const i of simulated ? [0, 1, 2, 3] : [])
  devices.push([`cuda-sim:${i}`, new (native().Device)('cuda-sim', i)])

describe.each(devices)('runs asked for behind each other, on %s', (_, gpu) => {
  it('one that takes what another has computed, where it needs more memory', async () => {
    const arena = new (native().Arena)(gpu)
    const [first, second] = [turned(arena, 3), turned(arena, 3, 5000)]
    const [once, twice] = await Promise.all([first.run(numbers(3)), second.run(first.out)])
    expect(once.slice(0, H)).toEqual([9, 10, 11, 12])
    expect(twice).toEqual(Array.from(numbers(3)))
  })

  it.skipIf(!gpu)('one that fails fails alone of those before it', async () => {
    const arena = new (native().Arena)(gpu)
    const plan = turned(arena, 3)
    const good = await plan.run(numbers(3))
    const runs = [plan.run(numbers(3)), plan.run(numbers(3), 2 ** 28), plan.run(numbers(3))]
    const [before, failed] = await Promise.allSettled(runs)
    expect(before).toEqual({ status: 'fulfilled', value: good })
    expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'ERR_MOE_DEVICE' } })
  })
})

describe.skipIf(!simulated)('a step that runs ahead (simulated)', () => {
  it('is on the GPU before the one before it has been read', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-events-'))
    const file = path.join(folder, 'events')
    const program = `
      import { loadModel } from ${JSON.stringify(`${root}/dist/index.js`)}
      const model = await loadModel(${JSON.stringify(`${root}/demo/mixtral-tiny`)}, { device: 'cuda-sim:2' })
      await model.generate([1, 2, 3], { maxNewTokens: 6, stopIds: [] })
      await model.dispose()`
    spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...process.env, MOE_SIM_EVENTS: file, MOE_SIM_QUERIES: '20000' },
    })
    // r: a mark behind a step's results; w: the host waits for one that the GPU has not passed.
    expect(readFileSync(file, 'utf8')).toContain('rr')
    rmSync(folder, { recursive: true })
  })
})
