import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadModel, type Model, randomModel } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'
import { bits, everything, inBatch, inPieces, text } from '../support/bits.ts'
import { familySamples } from '../support/families/index.ts'
import { fixture, range } from '../support/golden.ts'
import { randomConfigs } from '../support/random_configs.ts'

// On the CPU a sequence's result depends on its ids and the model alone, to the bit, in every dtype.

// Sums longer than any slab of a kernel.
const wide = {
  ...{ model_type: 'mixtral', vocab_size: 100, hidden_size: 1088, num_hidden_layers: 1 },
  ...{ num_attention_heads: 4, intermediate_size: 1300, num_local_experts: 4 },
}
const { deepseekV3: latent, gptOss: sinks } = randomConfigs(64, 40)
const random: Record<string, Record<string, unknown>> = {
  ...{ wide, latent, sinks },
  // Norms of heads; layer norms.
  qwen3_moe: familySamples.qwen3_moe!.base,
  phimoe: { ...familySamples.phimoe!.base, rope_scaling: null },
}
const checkpoints = [
  ...Object.keys(random),
  'yuan/tiny-a',
  'yuan/tiny-c-bf16',
  'yuan/tiny-d-variant',
  'moepp/twolayer-gqa-f32',
  'moepp/base-bf16',
  'mixtral/window-f32',
  'mixtral/top3-bf16',
]
const dtypes = ['f32', 'bf16'] as const
const { isas, isa: best } = native().cpu()

const combinations = isas.flatMap((isa) =>
  checkpoints.flatMap((name) => dtypes.map((dtype) => ({ isa, name, dtype }))),
)

describe.each(combinations)('the same bits on $isa: $name, $dtype', ({ isa, name, dtype }) => {
  const load = (options: { threads?: number; maxTokens: number }) =>
    random[name]
      ? randomModel(random[name], { device: 'cpu', dtype, ...options })
      : loadModel(fixture('golden', name), { device: 'cpu', dtype, ...options })
  const ids = text(90, 5)
  let model: Model
  let alone: Record<string, string>
  beforeAll(async () => {
    native().selectIsa(isa)
    model = await load({ maxTokens: 2048 })
    alone = bits(await model.forward(ids, everything))
  })
  afterAll(async () => {
    await model.dispose()
    native().selectIsa(best)
  })

  it('among neighbours of any length', async () => {
    const all = [text(1, 3), text(33, 2), ids, text(200, 1), text(7, 9)]
    const together = await model.forward(all, everything)
    for (const [i, one] of all.entries())
      expect(bits(together[i]!), `${one.length} tokens`).toEqual(
        bits(await model.forward(one, everything)),
      )
  })

  it.each([
    ['one token at a time', range(ids.length)],
    ['chunks around the blocks of the cache', [0, 1, 32, 33, 64, 65]],
    ['chunks of few and of many rows', [0, 5, 11, 23, 36, 49, 77]],
  ])('in %s', async (_, cuts) => {
    expect(await inPieces(model, ids, cuts)).toEqual(alone)
  })

  it('longer than one step takes', async () => {
    const long = text(600, 11)
    const whole = bits(await model.forward(long, everything))
    expect(await inPieces(model, long, [0, 199, 520])).toEqual(whole)
  })

  it('step by step in a batch of many', async () => {
    const short = ids.slice(0, 34)
    const whole = bits(await model.forward(short, everything))
    expect(await inBatch(model, short, { size: 24, place: 9 })).toEqual(whole)
  })

  it('with any number of threads, and any size of the cache', async () => {
    for (const options of [
      { threads: 1, maxTokens: 1024 },
      { threads: 2, maxTokens: 96 },
    ]) {
      await using other = await load(options)
      expect(bits(await other.forward(ids, everything)), JSON.stringify(options)).toEqual(alone)
    }
  })

  it('forked, and cut back', async () => {
    using source = model.sequence()
    const head = await source.forward(ids.slice(0, 75), everything)
    using copy = source.fork()
    copy.truncate(41)
    const [rest, again] = await Promise.all([
      source.forward(ids.slice(75), everything),
      copy.forward(ids.slice(41), everything),
    ])
    expect(bits(head, rest)).toEqual(alone)
    using other = model.sequence()
    const first = await other.forward(ids.slice(0, 41), everything)
    expect(bits(first, again)).toEqual(alone)
  })

  it('drawn alone and beside others', async () => {
    const options = { maxNewTokens: 8, temperature: 0.9, seed: 5, logprobs: 3, stopIds: [] }
    const prompts = [ids.slice(0, 20), text(3, 1), text(50, 2)]
    const [drawn] = await Promise.all([
      Promise.all(prompts.map((prompt) => model.generate(prompt, options))),
      model.forward(text(300, 4)),
    ])
    for (const [i, prompt] of prompts.entries()) {
      const { ids: wanted, logprobs } = await model.generate(prompt, options)
      expect(drawn[i]).toMatchObject({ ids: wanted, logprobs })
    }
  })
})
