import { describe, expect, it } from 'vitest'
import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, Random, tensor } from '../cases/case.ts'
import { gpus } from '../support/gpus.ts'

// Draws from rows of several parts, to the id: what may be drawn and the walk over it, in plain f64. The distribution of
// draws is the CPU's test (test/engine/generate.test.ts).

interface Row {
  temperature?: number
  topK?: number
  topP?: number
  minP?: number
  /** Logits are multiples of it: most have equals. */
  grain?: number
}

const rows: Row[] = [
  {},
  { topK: 5 },
  { topP: 0.5 },
  { topK: 40, topP: 0.8 },
  { minP: 0.2, temperature: 3 },
  { topK: 700, grain: 0.5 }, //                  of equals the first ones, in several parts
  { topP: 0.6, grain: 1, temperature: 2 },
  { topK: 7000, topP: 0.3, temperature: 1e4 }, // nearly all of one size
  { topP: 0.9999, temperature: 0.7 },
  { temperature: 0 },
]

/** splitmix64 of csrc/core as a number in [0, 1). */
function uniform(seed: bigint, step: bigint): number {
  const u64 = (x: bigint) => BigInt.asUintN(64, x)
  let z = u64(seed + 0x9e3779b97f4a7c15n * (step + 1n))
  z = u64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n)
  z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn)
  return Number((z ^ (z >> 31n)) >> 11n) * 2 ** -53
}

function drawn(logits: Float32Array, row: Row, step: number): number {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = row
  const best = logits.reduce((a, b) => Math.max(a, b))
  if (temperature === 0) return logits.indexOf(best)
  const mass = Array.from(logits, (z) =>
    Math.fround(Math.exp(Math.fround(Math.fround(z - best) / Math.fround(temperature)))),
  )
  let order = mass.map((_, v) => v).sort((a, b) => mass[b]! - mass[a]! || a - b)
  if (topK > 0) order = order.slice(0, topK)
  if (topP < 1) {
    let missing = Math.fround(topP) * order.reduce((sum, v) => sum + mass[v]!, 0)
    order = order.filter((v) => {
      const taken = missing > 0
      missing -= mass[v]!
      return taken
    })
  }
  order = order.filter((v) => mass[v]! >= Math.fround(minP)).sort((a, b) => a - b)
  const total = order.reduce((sum, v) => sum + mass[v]!, 0)
  let target = uniform((1n << 32n) | 99n, BigInt(step)) * total
  return order.find((v) => {
    target -= mass[v]!
    return target < 0
  })!
}

// Two schedules that differ in everything; all of them run the cases of `sample`.
describe.each(gpus.filter((_, i) => i === 0 || i === 3))('draws on $name', ({ device }) => {
  it.each([
    ['aligned rows', 8200, 8196],
    ['others', 4101, 4099],
  ])('%s', async (_, V, vocabulary) => {
    const random = new Random(V)
    const logits = random.tensor([rows.length, V], 'f32', 3)
    for (const [s, { grain }] of rows.entries())
      for (let v = s * V; grain && v < s * V + V; v++)
        logits.data[v] = Math.round(logits.data[v]! / grain) * grain
    const options = rows.flatMap(({ temperature = 1, topP = 1, minP = 0 }) => [
      ...[temperature, topP, minP, 1, 0, 0],
    ])
    const counts = rows.flatMap(({ topK = 0 }, s) => [topK, 99, 1, s, 0])
    const inputs = {
      logits,
      options: tensor([rows.length, 6], 'f32', (i) => options[i]!),
      counts: ints([rows.length, 5], (i) => counts[i]!),
      history: ints([0], () => 0),
      historyOffsets: ints([rows.length + 1], () => 0),
      vocabulary,
    }
    const { ids, logprobs } = await kernels.sample(inputs, { device })
    const at = (s: number) => logits.data.subarray(s * V, s * V + vocabulary) as Float32Array
    expect([...ids.data]).toEqual(rows.map((row, s) => drawn(at(s), row, s)))
    const best = await kernels.sample({ ...inputs, draws: false }, { device })
    expect([...best.ids.data]).toEqual(rows.map((_, s) => drawn(at(s), { temperature: 0 }, s)))
    // A log probability is of the id that was drawn.
    for (const [s, id] of ids.data.entries())
      expect(logprobs.data[s]! - best.logprobs.data[s]!).toBeCloseTo(
        at(s)[id]! - at(s)[best.ids.data[s]!]!,
        4,
      )
  })
})
