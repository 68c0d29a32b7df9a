import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { placeExperts } from '../lib/index.ts'

describe('placeExperts', () => {
  it('balances what can be balanced', () => {
    expect(placeExperts([8, 7, 6, 5, 4, 3, 2, 1], 2).loads).toEqual([18, 18])
    expect(placeExperts([1, 1, 1, 1], 4).devices.flat().sort()).toEqual([0, 1, 2, 3])
    // Longest first gives 7 and 5 here; a swap gives 6 and 6.
    expect(Math.max(...placeExperts([3, 3, 2, 2, 2, 0], 2).loads)).toBe(6)
  })

  it('gives copies to the busiest expert', () => {
    const { devices, loads } = placeExperts([90, 10, 10, 10], 4, 3)
    expect(devices.every((held) => held.includes(0))).toBe(true)
    expect(Math.max(...loads)).toBeLessThanOrEqual(32.5)
  })

  it('places every expert, no expert twice on a device, and all of the load', () => {
    const load = fc.integer({ min: 0, max: 1000 })
    fc.assert(
      fc.property(
        fc.array(load, { minLength: 1, maxLength: 24 }),
        fc.integer({ min: 1, max: 6 }),
        fc.nat(20),
        (loads, devices, wanted) => {
          const copies = Math.min(wanted, loads.length * (devices - 1))
          const placed = placeExperts(loads, devices, copies)
          const all = placed.devices.flat()
          expect(new Set(all).size).toBe(loads.length)
          expect(all).toHaveLength(loads.length + copies)
          for (const held of placed.devices) expect(new Set(held).size).toBe(held.length)
          const sum = (list: number[]) => list.reduce((a, b) => a + b, 0)
          expect(sum(placed.loads)).toBeCloseTo(sum(loads), 6)
          const ideal = sum(loads) / devices
          expect(Math.max(...placed.loads)).toBeGreaterThanOrEqual(ideal - 1e-6)
        },
      ),
      { numRuns: 300 },
    )
  })

  it.each([
    [[[], 1], 'loads'],
    [[[-1], 1], 'loads'],
    [[[Number.NaN], 1], 'loads'],
    [[[1], 0], 'devices'],
    [[[1], 2, 2], 'copies'],
  ] as [Parameters<typeof placeExperts>, string][])('refuses %j: %s', (given, name) =>
    expect(() => placeExperts(...given)).toThrow(
      expect.objectContaining({ code: 'ERR_MOE_OPTION', message: expect.stringContaining(name) }),
    ),
  )
})
