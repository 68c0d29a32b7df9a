import { describe, expect, it } from 'vitest'
import { failure } from '../support/files.ts'
import { range, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const model = useModel(`${root}/demo/moepp-tiny`, { maxTokens: 1024 })
const ids = (length: number, seed: number) =>
  range(length).map((i) => (i * i + 7 * i * seed) % 1999)
const asked = { maxNewTokens: 3, temperature: 0, stopIds: [] }

describe('logprobs of a prompt', () => {
  it('are those of the logits, with the best tokens beside them', async () => {
    const prompt = ids(40, 3)
    const { promptLogprobs: scores, ids: drawn } = await model().generate(prompt, {
      ...asked,
      promptLogprobs: 3,
    })
    const { logits } = await model().forward(prompt, { logits: 'all' })
    const { vocabSize } = model().config
    expect([scores!.length, scores![0]]).toEqual([40, undefined])
    for (const [i, score] of scores!.entries()) {
      if (!score) continue
      const row = logits.subarray((i - 1) * vocabSize, i * vocabSize)
      const total = Math.log(row.reduce((sum, z) => sum + Math.exp(z), 0))
      expect(score.id).toBe(prompt[i])
      expect(score.logprob).toBeCloseTo(row[prompt[i]!]! - total, 4)
      const best = [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b).slice(0, 3)
      expect(score.top.map(({ id }) => id)).toEqual(best)
      expect(score.top[0]!.logprob).toBeCloseTo(row[best[0]!]! - total, 4)
    }
    expect((await model().generate(prompt, asked)).ids).toEqual(drawn)
  })

  it('are the same alone, in pieces among others, and where the prompt is cached', async () => {
    const prompt = ids(300, 5)
    const options = { ...asked, maxNewTokens: 12, promptLogprobs: 1, logprobs: 2 }
    const tell = async (options_ = options) => {
      const { ids, logprobs, promptLogprobs, usage } = await model().generate(prompt, options_)
      return { ids, logprobs, promptLogprobs, usage }
    }
    const alone = await tell()
    const writers = range(3).map((i) => model().generate(ids(5, i), { ...asked, maxNewTokens: 40 }))
    const among = range(2).map(() => tell())
    expect(await Promise.all(among)).toEqual([alone, alone])
    await Promise.all(writers)
    const { promptLogprobs: _, ...rest } = alone
    const cached = await model().generate(prompt, { ...asked, maxNewTokens: 12, logprobs: 2 })
    expect([cached.ids, cached.logprobs]).toEqual([rest.ids, rest.logprobs])
    expect([alone.usage.cachedTokens, cached.usage.cachedTokens > 200]).toEqual([0, true])
  })

  it('are all that is asked of, without a new token', async () => {
    const {
      ids: none,
      text,
      promptLogprobs,
      usage,
    } = await model().generate(ids(5, 1), {
      ...{ maxNewTokens: 0, promptLogprobs: 0 },
    })
    expect([none, text, usage.completionTokens, promptLogprobs!.length]).toEqual([[], '', 0, 5])
    expect(promptLogprobs![4]).toMatchObject({ id: ids(5, 1)[4], top: [] })
    expect(model().stats).toMatchObject({ running: 0, blocks: { size: 32, free: 32 } })
  })

  it('belong to the call’s own tokens of a sequence', async () => {
    using sequence = model().sequence()
    await sequence.generate(ids(9, 2), asked)
    const { promptLogprobs } = await sequence.generate(ids(6, 4), { ...asked, promptLogprobs: 0 })
    expect(promptLogprobs!.map((one) => one?.id)).toEqual([undefined, ...ids(6, 4).slice(1)])
  })

  it('are refused where nothing says them', async () => {
    const bad = { maxNewTokens: 1, promptLogprobs: 21 }
    expect(await failure(() => model().generate([1, 2], bad))).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringMatching(/^generate: promptLogprobs must be .* from 0 to 20, got 21$/),
    })
  })
})

describe('logprobs of a prompt that has to make room', () => {
  const small = useModel(`${root}/demo/moepp-tiny`, { maxTokens: 128 })

  it('are told once', async () => {
    const scored = { ...asked, maxNewTokens: 30, promptLogprobs: 2 }
    const alone = await small().generate(ids(60, 8), scored)
    const first = small().generate(ids(20, 1), { ...asked, maxNewTokens: 90 })
    const { ids: drawn, promptLogprobs } = await small().generate(ids(60, 8), scored)
    await first
    expect([drawn, promptLogprobs]).toEqual([alone.ids, alone.promptLogprobs])
    expect(small().stats.preemptions).toBeGreaterThan(0)
  })
})

describe('the least number of new tokens', () => {
  it('keeps ids and strings from ending a text before', async () => {
    const options = { maxNewTokens: 20, temperature: 0, logitBias: { 77: 100 }, stopIds: [77] }
    expect((await model().generate('A', options)).ids).toEqual([])
    const { ids: some, stopReason } = await model().generate('A', { ...options, minNewTokens: 7 })
    expect([some.length, some.includes(77), stopReason]).toEqual([7, false, 77])
    const free = await model().generate('ROMEO:', { maxNewTokens: 20, temperature: 0 })
    const stop = free.text.slice(1, 2)
    const cut = await model().generate('ROMEO:', {
      ...{ maxNewTokens: 20, temperature: 0, stop, minNewTokens: 6 },
    })
    expect(cut.ids.length).toBeGreaterThan(6)
    expect(free.text.startsWith(cut.text)).toBe(true)
  })

  it('leaves an end where a constraint allows nothing else', async () => {
    const options = { constraint: { regex: 'yes' }, minNewTokens: 40, maxNewTokens: 50 }
    expect((await model().generate('A', options)).text).toBe('yes')
    const longer = { constraint: { regex: '[a-z]*' }, minNewTokens: 5, maxNewTokens: 50 }
    const { eosId } = model().tokenizer!
    const { ids: some } = await model().generate('A', { ...longer, logitBias: { [eosId!]: 100 } })
    expect(some.length).toBe(5)
  })

  it('is at most the most', async () => {
    const bad = { maxNewTokens: 3, minNewTokens: 4 }
    expect(await failure(() => model().generate('A', bad))).toMatchObject({
      message: 'generate: minNewTokens must be a whole number from 0 to 3, got 4',
    })
  })

  it('ids can end a text beside the model’s own', async () => {
    const { eosId } = model().tokenizer!
    for (const id of [5, eosId!]) {
      const also = { stopIds: { also: [5] }, logitBias: { [id]: 100 } }
      expect(await model().generate('A', also)).toMatchObject({ ids: [], stopReason: id })
    }
    const bad = { stopIds: { also: 5 } } as never
    expect(await failure(() => model().generate('A', bad))).toMatchObject({
      message: expect.stringMatching(/^generate: stopIds must be a list of token ids, got /),
    })
  })
})
