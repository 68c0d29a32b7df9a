import { describe, expect, it } from 'vitest'
import {
  type GenerateResult,
  type LoadModelOptions,
  loadModel,
  type Model,
} from '../../lib/index.ts'
import { Random } from '../cases/case.ts'
import { bits, everything, text as ids97 } from '../support/bits.ts'
import { fixture, range } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'
import { useModel } from '../support/use_model.ts'

// What is cached, and making room for others, changes no bit.

const checkpoints = [
  'yuan/tiny-a',
  'yuan/tiny-d-variant',
  'moepp/twolayer-gqa-f32',
  'mixtral/window-f32',
  'deepseek_v3/base-f32',
  'longcat_flash/base-f32',
]
const gpu = { device: 'cuda-sim:3', deterministic: true, threads: 1 } as const
const places: [string, LoadModelOptions][] = [
  ['the CPU', { device: 'cpu' }],
  ...(simulated ? [['a GPU, deterministic', gpu] as [string, LoadModelOptions]] : []),
]

/** Ids of the smallest vocabulary. */
const text = (n: number, seed: number): number[] => ids97(n, seed).map((id) => id % 80)
const asked = { stopIds: [], temperature: 0.9, seed: 5, logprobs: 3 }
const drawn = ({ ids, logprobs }: GenerateResult) => ({ ids, logprobs })

describe.each(
  places.flatMap(([place, options]) => {
    // The simulator is slow.
    const names = options.device === 'cpu' ? checkpoints : ['yuan/tiny-a', 'mixtral/window-f32']
    return names.map((name) => ({ place, name, options }))
  }),
)('$name on $place', ({ name, options }) => {
  const dir = fixture('golden', name)
  const large = useModel(dir, { ...options, maxTokens: 1024 })
  const onCpu = options.device === 'cpu'
  const length = onCpu ? 40 : 9

  it('a cached beginning gives the same text', async () => {
    const model = large()
    const prompt = text(75, 4)
    const first = await model.generate(prompt, { ...asked, maxNewTokens: length })
    const again = await model.generate(prompt, { ...asked, maxNewTokens: length })
    expect([first.usage.cachedTokens, again.usage.cachedTokens]).toEqual([0, 64])
    expect(drawn(again)).toEqual(drawn(first))
    // Behind blocks that others have written token by token.
    const longer = [...prompt, ...first.ids]
    const behind = await model.generate(longer, { ...asked, maxNewTokens: length })
    const alone = await model.generate(longer, { ...asked, maxNewTokens: length, cacheSalt: 'x' })
    expect(alone.usage.cachedTokens).toBe(0)
    expect(behind.usage.cachedTokens).toBe(Math.floor((longer.length - 1) / 32) * 32)
    expect(drawn(behind)).toEqual(drawn(alone))
  })

  it('making room for older texts gives the same text, and the same traces once', async () => {
    await using model = await loadModel(dir, {
      dtype: 'f32',
      ...options,
      maxTokens: onCpu ? 160 : 96,
    })
    const prompts = onCpu ? range(4).map((i) => text(50 + 7 * i, i)) : [text(28, 1), text(29, 2)]
    const limits = { ...asked, maxNewTokens: length, routing: true }
    const alone = []
    for (const prompt of prompts) alone.push(await large().generate(prompt, limits))
    const before = model.stats.preemptions
    const together = await Promise.all(prompts.map((prompt) => model.generate(prompt, limits)))
    for (const [i, one] of together.entries()) {
      expect(drawn(one)).toEqual(drawn(alone[i]!))
      expect(one.routing).toEqual(alone[i]!.routing)
    }
    expect(model.stats.preemptions - before).toBeGreaterThan(onCpu ? 1 : 0)
    expect(model.stats).toMatchObject({ running: 0, waiting: 0, blocks: { free: onCpu ? 5 : 3 } })
  })
})

describe.each(checkpoints)('%s, many callers and a small cache', (name) => {
  const dir = fixture('golden', name)
  const options = { device: 'cpu', maxTokens: 224 } as const
  const large = useModel(dir, { device: 'cpu', maxTokens: 4096 })
  let small: Model

  it('whoever comes and leaves, the others get what they get alone', async () => {
    small = await loadModel(dir, { dtype: 'f32', ...options })
    await using model = small
    const random = new Random(11)
    const below = (n: number) => Math.floor(n * random.uniform())
    let preempted = 0
    for (const round of range(4)) {
      const jobs = range(8).map((i) => ({
        // Beginnings that are shared by some.
        prompt: [...text(32 * below(3), round % 2), ...text(1 + below(40), i)],
        maxNewTokens: 1 + below(60),
        penalty: below(3) === 0 ? 1.2 : 1,
        leaves: below(3) === 0 ? below(12) : undefined,
      }))
      const run = async (
        of: Model,
        { prompt, maxNewTokens, penalty, leaves }: (typeof jobs)[0],
      ) => {
        const limits = { ...asked, maxNewTokens, repetitionPenalty: penalty }
        const ids: number[] = []
        for await (const { id } of of.generate(prompt, limits)) {
          ids.push(id)
          if (ids.length === leaves) break
        }
        return ids
      }
      const alone = []
      for (const job of jobs) alone.push(await run(large(), job))
      expect(await Promise.all(jobs.map((job) => run(model, job)))).toEqual(alone)
      preempted = model.stats.preemptions
    }
    expect(preempted).toBeGreaterThan(3)
    expect(model.stats.prefix.hits).toBeGreaterThan(0)
    expect(model.stats.blocks.free).toBe(7)
  })

  it('a pass that has to make room returns each row once', async () => {
    await using model = await loadModel(dir, { dtype: 'f32', ...options, maxTokens: 160 })
    const ids = text(90, 3)
    const whole = bits(await large().forward(ids, everything))
    const writer = model.generate(text(40, 1), { ...asked, maxNewTokens: 80 })
    const second = model.generate(text(40, 2), { ...asked, maxNewTokens: 80 })
    const passes = await Promise.all(range(3).map(() => model.forward(ids, everything)))
    for (const pass of passes) expect(bits(pass)).toEqual(whole)
    await Promise.all([writer, second])
  })

  it('a sequence goes on behind a cached beginning, and cut back into one', async () => {
    const model = large()
    const prompt = text(80, 9)
    const limits = { ...asked, maxNewTokens: 20 }
    const first = await model.generate(prompt, limits)
    using sequence = model.sequence()
    const taken = await sequence.generate(prompt, limits)
    expect(taken.usage.cachedTokens).toBe(64)
    expect(drawn(taken)).toEqual(drawn(first))
    sequence.truncate(50)
    const more = await sequence.generate([1, 2, 3], limits)
    const alone = await model.generate([...prompt.slice(0, 50), 1, 2, 3], {
      ...limits,
      cacheSalt: 'y',
    })
    expect(drawn(more)).toEqual(drawn(alone))
    const again = await model.generate(prompt, limits)
    expect(drawn(again)).toEqual(drawn(first))
  })
})
