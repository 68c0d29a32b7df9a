import { badOption } from './errors.ts'

/** Which experts a device holds, and what they bring it. */
export interface ExpertPlacement {
  /** One list of expert ids a device, ascending. */
  devices: number[][]
  /** Load of each device; an expert's load is shared by its copies. */
  loads: number[]
}

/**
 * Places experts on devices so that the busiest device has as little to do as may be, as SmartMoE (ATC 2023) and
 * FasterMoE's shadowing do it online. The busiest experts get the copies; then the largest load left goes to the idlest device that
 * has room and not that expert, and pairs are swapped while that helps.
 *
 * @param loads   tokens of each expert, such as `model.routingStats()` counts them
 * @param devices how many there are
 * @param copies  places beside one for each expert
 * @throws {MoeError} ERR_MOE_OPTION
 */
export function placeExperts(
  loads: readonly number[],
  devices: number,
  copies = 0,
): ExpertPlacement {
  const where = 'placeExperts'
  const own = Array.isArray(loads) ? Array.from(loads) : [] // holes become undefined
  if (own.length === 0 || !own.every((n) => Number.isFinite(n) && n >= 0))
    badOption(where, 'loads', 'a list of numbers of at least 0', loads)
  if (!(Number.isSafeInteger(devices) && devices >= 1))
    badOption(where, 'devices', 'a whole number of at least 1', devices)
  const most = own.length * (devices - 1)
  if (!(Number.isSafeInteger(copies) && copies >= 0 && copies <= most))
    badOption(where, 'copies', `a whole number from 0 to ${most}`, copies)
  const shares = spread(own, devices, copies)
  const room = Math.ceil(shares.length / devices)
  const placed = Array.from({ length: devices }, () => new Map<number, number>())
  const load = (d: number) => [...placed[d]!.values()].reduce((sum, n) => sum + n, 0)
  for (const { expert, share } of shares) {
    const free = placed.flatMap((held, d) => (held.size < room && !held.has(expert) ? [d] : []))
    const idlest = (of: number[]) => of.reduce((best, d) => (load(d) < load(best) ? d : best))
    // With copies, the last places may all be on devices that have the expert: then one has an expert more.
    const others = placed.flatMap((held, d) => (held.has(expert) ? [] : [d]))
    placed[idlest(free.length > 0 ? free : others)]!.set(expert, share)
  }
  while (swapBest(placed, load));
  return {
    devices: placed.map((held) => [...held.keys()].sort((a, b) => a - b)),
    loads: placed.map((_, d) => load(d)),
  }
}

/** One entry a place, largest first: each copy goes to the expert whose places have the most to do. */
function spread(loads: readonly number[], devices: number, copies: number) {
  const places = loads.map(() => 1)
  const share = (e: number) => (places[e]! < devices ? loads[e]! / places[e]! : -1)
  for (let i = 0; i < copies; i++) {
    const busiest = loads.reduce((best, _, e) => (share(e) > share(best) ? e : best), 0)
    places[busiest]! += 1
  }
  return loads
    .flatMap((load, expert) =>
      Array.from({ length: places[expert]! }, () => ({ expert, share: load / places[expert]! })),
    )
    .sort((a, b) => b.share - a.share || a.expert - b.expert)
}

/** Swaps the two experts of the busiest device and another that lower the larger load of both most; false: none does. */
function swapBest(placed: Map<number, number>[], load: (d: number) => number): boolean {
  const loads = placed.map((_, d) => load(d))
  const top = loads.indexOf(Math.max(...loads))
  let best: { d: number; mine: number; theirs: number; peak: number } | undefined
  for (const [d, held] of placed.entries()) {
    if (d === top) continue
    for (const [mine, a] of placed[top]!)
      for (const [theirs, b] of held) {
        if (held.has(mine) || placed[top]!.has(theirs)) continue
        const peak = Math.max(loads[top]! - a + b, loads[d]! - b + a)
        if (peak < (best?.peak ?? loads[top]! * (1 - 1e-12))) best = { d, mine, theirs, peak }
      }
  }
  if (!best) return false
  const { d, mine, theirs } = best
  const [a, b] = [placed[top]!.get(mine)!, placed[d]!.get(theirs)!]
  placed[top]!.delete(mine)
  placed[d]!.delete(theirs)
  placed[top]!.set(theirs, b)
  placed[d]!.set(mine, a)
  return true
}
