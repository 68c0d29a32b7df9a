import { describe, expect, it } from 'vitest'
import { randomModel } from '../../lib/index.ts'
import { familySamples } from '../support/families/index.ts'
import { failure } from '../support/files.ts'
import { range } from '../support/golden.ts'

describe.each(Object.entries(familySamples))('randomModel: %s', (_, { base: config }) => {
  it('runs, spreads its routing, and is the same for the same seed', async () => {
    await using a = await randomModel(config, { device: 'cpu', maxTokens: 64, seed: 3 })
    await using b = await randomModel(config, { device: 'cpu', maxTokens: 64, seed: 3, threads: 1 })
    await using c = await randomModel(config, { device: 'cpu', maxTokens: 64, seed: 4 })
    const ids = range(40).map((i) => (i * 37) % 300)
    const [x, y, z] = await Promise.all([a, b, c].map((m) => m.forward(ids, { routing: true })))
    expect(x!.logits.every(Number.isFinite)).toBe(true)
    expect(y!.logits).toEqual(x!.logits)
    expect(z!.logits).not.toEqual(x!.logits)
    expect(new Set(x!.routing!.find((layer) => layer)!.expertIds).size).toBeGreaterThan(3)
    expect((await a.generate([1, 2], { maxNewTokens: 5, stopIds: [] })).ids).toHaveLength(5)
  })

  it('with f32 weights, too', async () => {
    await using m = await randomModel(config, { device: 'cpu', maxTokens: 64, weights: 'f32' })
    expect((await m.forward([1, 2, 3])).logits.every(Number.isFinite)).toBe(true)
  })
})

it('randomModel says what is wrong', async () => {
  expect(await failure(() => randomModel({}))).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
  expect(await failure(() => randomModel(null as never))).toMatchObject({ code: 'ERR_MOE_OPTION' })
  expect(
    await failure(() => randomModel(familySamples.mixtral!.base, { weights: 'i8' as never })),
  ).toMatchObject({
    code: 'ERR_MOE_OPTION',
  })
})
