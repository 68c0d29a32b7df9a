import { describe, expect, it } from 'vitest'
import { Decoder } from '../../lib/layers/decoder.ts'
import { native, type Tensor } from '../../lib/native.ts'
import type { CapacityOrder, ExpertKind } from '../../lib/ops/index.ts'
import { CapacityRouter } from '../../lib/routers/capacity_router.ts'
import { ExpertChoiceRouter } from '../../lib/routers/expert_choice_router.ts'
import type { Router } from '../../lib/routers/router.ts'
import { TopKRouter } from '../../lib/routers/top_k_router.ts'
import { rowsOf } from '../../lib/weights/weights.ts'
import { Random } from '../cases/case.ts'
import { range } from '../support/golden.ts'
import { make } from './made_weights.ts'

const [E, H] = [6, 16]
const capacity = 3

function limited(topK: number, order: CapacityOrder): Promise<Router> {
  const kinds = Array<ExpertKind>(E).fill('ffn')
  return make(false, (weights) => {
    const router = new TopKRouter(weights, 'gate', { hidden: H, kinds, topK, weights: 'scores' })
    return new CapacityRouter(router, { experts: E, topK, order, capacity: () => capacity })
  })
}

const routers: [name: string, make: () => Promise<Router>, scope: Router['scope'], K: number][] = [
  ['top-1 in token order', () => limited(1, 'token'), 'prefix', 1],
  ['top-2 in token order', () => limited(2, 'token'), 'prefix', 2],
  ['top-1, first choices first', () => limited(1, 'choice'), 'prefix', 1],
  ['top-2, first choices first', () => limited(2, 'choice'), 'segment', 2],
  ['top-2 by priority', () => limited(2, 'priority'), 'segment', 2],
  [
    'expert choice',
    () => make(false, (w) => new ExpertChoiceRouter(w, rowsOf('gate', [E, H]), () => capacity)),
    'segment',
    E,
  ],
]

/** Ids, weights, rows and offsets for x [T, H] in segments of these lengths. */
async function route(router: Router, x: Float32Array, lengths: number[]) {
  const plan = new (native().Plan)(new (native().Arena)())
  const ends = lengths.reduce((list, n) => [...list, list.at(-1)! + n], [0])
  const tensor = (data: Float32Array | Int32Array, shape: number[], dtype: 'f32' | 'i32'): Tensor =>
    native().tensorFrom(data, shape, dtype)
  const offsets = tensor(Int32Array.from(ends), [ends.length], 'i32')
  const segments = { offsets, tokens: Math.max(...lengths) }
  const routing = router.route(plan, tensor(x, [x.length / H, H], 'f32'), { segments })
  for (const name of ['ids', 'weights', 'rows', 'offsets'] as const)
    plan.output(name, routing[name])
  const { ids, weights, rows, offsets: groups } = await plan.run({}, 2)
  return {
    ids: Array.from(ids!),
    weights: Array.from(weights!),
    rows: Array.from(rows!),
    offsets: Array.from(groups!),
  }
}

const dropped = (rows: number[]): boolean[] => rows.map((row) => row < 0)

describe.each(routers)('%s', (_, make, scope, K) => {
  const random = new Random(7)
  const x = Float32Array.from({ length: 40 * H }, () => random.normal())
  const lengths = [13, 1, 26]

  it('says how far it looks', async () => expect((await make()).scope).toBe(scope))

  it('gives each group its rows, at most as many as there is capacity', async () => {
    const { ids, rows, offsets } = await route(await make(), x, lengths)
    const placed = rows.filter((row) => row >= 0)
    expect(new Set(placed).size).toBe(placed.length)
    expect(offsets).toHaveLength(E + 1)
    expect([offsets[0], offsets[E]]).toEqual([0, placed.length])
    for (const [slot, row] of rows.entries()) {
      if (row < 0) continue
      expect(row).toBeGreaterThanOrEqual(offsets[ids[slot]!]!)
      expect(row).toBeLessThan(offsets[ids[slot]! + 1]!)
    }
    let begin = 0
    for (const length of lengths) {
      for (const e of range(E)) {
        const slots = range(length * K).map((i) => begin * K + i)
        const asked = slots.filter((s) => ids[s] === e)
        const served = asked.filter((s) => rows[s]! >= 0)
        expect(served).toHaveLength(Math.min(asked.length, capacity))
      }
      begin += length
    }
  })

  it('does not look at other segments', async () => {
    const router = await make()
    const all = await route(router, x, lengths)
    const own = await route(router, x.slice(14 * H), [26])
    expect(own.ids).toEqual(all.ids.slice(14 * K))
    expect(own.weights).toEqual(all.weights.slice(14 * K))
    expect(dropped(own.rows)).toEqual(dropped(all.rows.slice(14 * K)))
  })

  it(scope === 'prefix' ? 'does not look ahead' : 'looks ahead', async () => {
    const router = await make()
    const whole = dropped((await route(router, x, [40])).rows)
    const prefixes = await Promise.all(
      [5, 17, 39].map((n) => route(router, x.slice(0, n * H), [n])),
    )
    const same = prefixes.every(({ rows }) =>
      dropped(rows).every((value, slot) => value === whole[slot]),
    )
    expect(same).toBe(scope === 'prefix')
  })

  it('groups a token of NaN, whose weights show it', async () => {
    const poisoned = x.slice()
    poisoned.fill(Number.NaN, 2 * H, 3 * H)
    const { rows, weights, offsets } = await route(await make(), poisoned, lengths)
    expect(offsets[E]).toBe(rows.filter((row) => row >= 0).length)
    expect(weights.slice(2 * K, 3 * K).every(Number.isNaN)).toBe(true)
    expect(weights.filter(Number.isNaN)).toHaveLength(K)
  })

  it('is refused by a decoder', async () => {
    const experts = { kinds: [], topK: K, parameters: 0, scope: (await make()).scope }
    const layer = { caches: {}, experts, forward: () => ({ out: undefined as never }) }
    const parts = { vocabulary: undefined as never, visibility: {}, layers: [layer] }
    expect(() => new Decoder({}, parts)).toThrow(
      expect.objectContaining({
        code: 'ERR_MOE_UNSUPPORTED',
        message: expect.stringMatching(/router/),
      }),
    )
  })
})
