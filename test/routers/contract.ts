import { describe, expect, it } from 'vitest'
import { native, type Tensor } from '../../lib/native.ts'
import type { Router } from '../../lib/routers/router.ts'
import { Random } from '../cases/case.ts'
import { range } from '../support/golden.ts'

export interface RouterCase {
  name: string
  experts: number
  hidden: number
  topK: number
  /** What a token's weights sum to, before `factor`; 'free': anything, and each may be anything. */
  sum: 1 | 'at most 1' | 'at most K' | 'free'
  /** Of all weights; absent: 1. */
  factor?: number
  /** The choice is not by logits alone: a bias or groups have a say. */
  biased?: boolean
  /** Reads the routing of the layer below. */
  carries: boolean
  /** Makes the router from `weight(name, shape)`; all weights 0 when `zero`. */
  make(zero: boolean): Promise<Router>
}

interface Read {
  ids: Int32Array
  weights: Float32Array
  logits: Float32Array
}

/** Runs a router alone on x [T, hidden], above a first layer of its own kind where `below` is given. */
async function route(
  router: Router,
  x: Float32Array,
  hidden: number,
  below?: Float32Array,
): Promise<Read> {
  const plan = new (native().Plan)(new (native().Arena)())
  const rows = (data: Float32Array): Tensor =>
    native().tensorFrom(data, [data.length / hidden, hidden], 'f32')
  const previous = below && router.route(plan, rows(below))
  const { ids, weights, logits } = router.route(plan, rows(x), { previous })
  for (const [name, tensor] of Object.entries({ ids, weights, logits })) plan.output(name, tensor)
  return (await plan.run({}, 2)) as unknown as Read
}

function expectBestFirst(chosen: number[], logits: Float32Array): void {
  const values = chosen.map((e) => logits[e]!)
  expect(values).toEqual([...values].sort((a, b) => b - a))
  for (const [e, value] of logits.entries())
    if (!chosen.includes(e)) expect(value).toBeLessThanOrEqual(values.at(-1)!)
}

/** What every router must keep. */
export function routerContract(c: RouterCase): void {
  const { experts: E, hidden: H, topK: K } = c
  const rows = (T: number, seed: number, scale = 1): Float32Array => {
    const random = new Random(seed)
    return Float32Array.from({ length: T * H }, () => scale * random.normal())
  }

  describe(`${c.name}: the router contract`, () => {
    it.each([1, 2, 7, 64])(
      '%i tokens: distinct ids in range, finite weights, best first',
      async (T) => {
        const { ids, weights, logits } = await route(await c.make(false), rows(T, T), H)
        expect([ids.length, weights.length, logits.length]).toEqual([T * K, T * K, T * E])
        for (const t of range(T)) {
          const chosen = Array.from(ids.subarray(t * K, t * K + K))
          expect(new Set(chosen).size).toBe(K)
          expect(chosen.every((e) => e >= 0 && e < E)).toBe(true)
          if (!c.biased) expectBestFirst(chosen, logits.subarray(t * E, t * E + E))
          const share = Array.from(weights.subarray(t * K, t * K + K), (w) => w / (c.factor ?? 1))
          expect(share.every(Number.isFinite)).toBe(true)
          if (c.sum === 'free') continue
          expect(share.every((w) => w >= 0 && w <= 1 + 1e-6)).toBe(true)
          const sum = share.reduce((a, b) => a + b)
          if (c.sum === 1) expect(sum).toBeCloseTo(1, 5)
          else expect(sum).toBeLessThanOrEqual((c.sum === 'at most 1' ? 1 : K) + 1e-6)
        }
      },
    )

    it('no tokens', async () => {
      const { ids, weights, logits } = await route(await c.make(false), rows(0, 1), H)
      expect([ids.length, weights.length, logits.length]).toEqual([0, 0, 0])
    })

    it('a token is routed alone: neighbours and their number change nothing', async () => {
      const router = await c.make(false)
      const x = rows(20, 5)
      const below = c.carries ? rows(20, 6) : undefined
      const all = await route(router, x, H, below)
      for (const t of [0, 7, 19]) {
        const slice = (data: Float32Array) => data.slice(t * H, t * H + H)
        const one = await route(router, slice(x), H, below && slice(below))
        expect(one.ids).toEqual(all.ids.slice(t * K, t * K + K))
        expect(one.weights).toEqual(all.weights.slice(t * K, t * K + K))
        expect(one.logits).toEqual(all.logits.slice(t * E, t * E + E))
      }
    })

    it('equal logits go to the lowest ids', async () => {
      const { ids } = await route(await c.make(true), rows(3, 9), H)
      for (const t of range(3)) expect(Array.from(ids.subarray(t * K, t * K + K))).toEqual(range(K))
    })

    it('NaN and huge inputs still give distinct ids in range; NaN shows in the weights', async () => {
      const x = rows(3, 2, 1e4)
      x.fill(Number.NaN, 0, H)
      const { ids, weights } = await route(await c.make(false), x, H)
      for (const t of range(3)) {
        const chosen = Array.from(ids.subarray(t * K, t * K + K))
        expect(new Set(chosen).size).toBe(K)
        expect(chosen.every((e) => e >= 0 && e < E)).toBe(true)
        const share = Array.from(weights.subarray(t * K, t * K + K))
        expect(share.every((w) => (t === 0 ? Number.isNaN(w) : Number.isFinite(w)))).toBe(true)
      }
    })

    it(
      c.carries ? 'reads the routing of the layer below' : 'does not read the layer below',
      async () => {
        const router = await c.make(false)
        const x = rows(8, 3)
        const first = await route(router, x, H)
        const second = await route(router, x, H, rows(8, 4))
        if (c.carries) expect(second.logits).not.toEqual(first.logits)
        else expect(second).toEqual(first)
      },
    )
  })
}
