import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type ForwardResult,
  type Model,
  type RandomModelOptions,
  randomModel,
} from '../../lib/index.ts'
import { bits, everything, inBatch, inPieces, text } from '../support/bits.ts'
import { maxDifference, range } from '../support/golden.ts'
import { gpus } from '../support/gpus.ts'
import { randomConfigs } from '../support/random_configs.ts'

// The simulator's first and last schedule are one of each generation.
const devices = [...new Set([...gpus.slice(0, 1), ...gpus.slice(-1)])]
// Wide enough that a few rows and many take sums in another order.
const combinations = devices.flatMap(({ name, device }) =>
  Object.entries(randomConfigs(192, 160)).map(([family, config]) => ({
    ...{ name, family },
    open: (options: RandomModelOptions & { deterministic?: boolean } = {}) =>
      randomModel(config, { device, dtype: 'bf16', maxTokens: 1024, ...options }),
  })),
)
const ids = text(40, 5)
const cuts = [0, 1, 17, 30]

/** The last two tokens of a long text, in one step and in two. */
async function decoded(model: Model): Promise<Record<string, string>[]> {
  const before = 140 // keys in three ranges
  const long = text(before + 2, 3)
  using sequence = model.sequence()
  await sequence.forward(long.slice(0, before), { logits: 'none' })
  using copy = sequence.fork()
  const steps = [await copy.forward(long.slice(before, before + 1), everything)]
  steps.push(await copy.forward(long.slice(before + 1), everything))
  return [bits(await sequence.forward(long.slice(before), everything)), bits(...steps)]
}

describe.each(combinations)('bits on $name: $family', ({ open }) => {
  let model: Model
  beforeAll(async () => {
    model = await open()
  })
  afterAll(() => model.dispose())

  it('are equal run to run', async () => {
    const first = bits(await model.forward(ids, everything)) // op by op
    expect(bits(await model.forward(ids, everything))).toEqual(first) // captured
    expect(bits(await model.forward(ids, everything))).toEqual(first) // launched as a graph
    await using again = await open()
    expect(bits(await again.forward(ids, everything))).toEqual(first)
  })

  it('do not depend on what neighbours of the same lengths say', async () => {
    const batch = (seed: number) => model.forward([text(30, seed), ids, text(7, seed)], everything)
    const [one, other] = [await batch(3), await batch(4)]
    expect(bits(other[1]!)).toEqual(bits(one[1]!))
    expect(bits(other[0]!)).not.toEqual(bits(one[0]!))
  })

  it('do not depend on the size of the cache', async () => {
    await using large = await open({ maxTokens: 24_576 })
    expect(await decoded(large)).toEqual(await decoded(model))
  })

  it('of other numbers of rows are near, until a router chooses otherwise', async () => {
    const whole = await model.forward(ids, everything)
    using sequence = model.sequence()
    const pieces: ForwardResult[] = []
    for (const [i, from] of cuts.entries())
      pieces.push(await sequence.forward(ids.slice(from, cuts[i + 1]), everything))
    const chosen = whole.routing!.map((layer, l) => {
      const { expertIds } = layer!
      const inPieces = pieces.flatMap(({ routing }) => Array.from(routing![l]!.expertIds))
      const first = inPieces.findIndex((id, i) => id !== expertIds[i])
      return first < 0 ? ids.length : Math.floor(first / model.config.topK)
    })
    const same = Math.min(...chosen) * model.config.vocabSize
    expect(same).toBeGreaterThan(whole.logits.length / 4)
    const logits = pieces.flatMap((piece) => Array.from(piece.logits))
    expect(maxDifference(logits.slice(0, same), whole.logits.subarray(0, same))).toBeLessThan(0.05)
  })
})

describe.each(combinations)('bits on $name, deterministic: $family', ({ open }) => {
  let model: Model
  let alone: Record<string, string>
  beforeAll(async () => {
    model = await open({ deterministic: true })
    alone = bits(await model.forward(ids, everything))
  })
  afterAll(() => model.dispose())

  it('a sequence alone equals itself among others', async () => {
    const all = [text(30, 3), ids, text(1, 2), text(60, 1)]
    const together = await model.forward(all, everything)
    expect(bits(together[1]!)).toEqual(alone)
    expect(bits(together[2]!)).toEqual(bits(await model.forward(all[2]!, everything)))
  })

  it('in chunks', async () => {
    expect(await inPieces(model, ids, cuts)).toEqual(alone)
  })

  it('one token at a time, alone and in a batch of many', async () => {
    const short = ids.slice(0, 6)
    const whole = bits(await model.forward(short, everything))
    expect(await inPieces(model, short, range(6))).toEqual(whole)
    expect(await inBatch(model, short, { size: 20, place: 9 })).toEqual(whole)
  })

  it('behind a long text', async () => {
    const [together, steps] = await decoded(model)
    expect(steps).toEqual(together)
  })
})
