import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { ints, tensor } from '../cases/case.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { argmax, range, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const dir = `${root}/demo/moepp-tiny`

describe('generate', () => {
  const model = useModel(dir, { maxTokens: 512 })

  it('streams chunks that add up to the result', async () => {
    const generation = model().generate('ROMEO:\n', { maxNewTokens: 30 })
    const chunks = []
    for await (const chunk of generation) chunks.push(chunk)
    const result = await generation
    expect(chunks.map((c) => c.text).join('')).toBe(result.text)
    expect(chunks.map((c) => c.id)).toEqual(result.ids)
    expect(result.usage).toEqual({
      promptTokens: model().tokenizer!.encode('ROMEO:\n').length,
      cachedTokens: 0,
      completionTokens: 30,
    })
    expect(result.finishReason).toBe('length')
    expect(result.timings.tokensPerSecond).toBeGreaterThan(0)
    expect(model().tokenizer!.decode(result.ids).trim()).toBe(result.text.trim())
  })

  it('is greedy by default: each token is the best of the logits before it', async () => {
    const prompt = model().tokenizer!.encode('KING:')
    const { ids } = await model().generate(prompt, { maxNewTokens: 8, stopIds: [] })
    for (const i of range(8)) {
      const { logits } = await model().forward([...prompt, ...ids.slice(0, i)])
      expect(argmax(logits)).toBe(ids[i])
    }
  })

  it('gives log probabilities of the unmodified softmax, best first', async () => {
    const prompt = [5, 6, 7]
    const { ids, logprobs } = await model().generate(prompt, {
      maxNewTokens: 3,
      logprobs: 4,
      temperature: 3,
      seed: 2,
      stopIds: [],
    })
    const { logits } = await model().forward(prompt)
    const top = logits.reduce((a, b) => Math.max(a, b))
    const total = top + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - top), 0))
    expect(logprobs).toHaveLength(3)
    expect(logprobs![0]!.logprob).toBeCloseTo(logits[ids[0]!]! - total, 4)
    expect(logprobs![0]!.top.map((t) => t.id)).toEqual(
      range(logits.length)
        .sort((a, b) => logits[b]! - logits[a]!)
        .slice(0, 4),
    )
    expect(logprobs![0]!.top[0]!.logprob).toBeCloseTo(top - total, 4)
  })

  it('equal seeds give equal texts, other seeds others', async () => {
    const run = (seed: number) =>
      model().generate('To be', { maxNewTokens: 24, temperature: 1.2, seed })
    const [a, b, c] = await Promise.all([run(1), run(1), run(2)])
    expect(a.ids).toEqual(b.ids)
    expect(a.ids).not.toEqual(c.ids)
    expect(
      (await model().generate('To be', { maxNewTokens: 24, topK: 20, seed: 1 })).ids,
    ).not.toEqual((await model().generate('To be', { maxNewTokens: 24 })).ids)
  })

  it('two loops over one generation see the same chunks', async () => {
    const generation = model().generate('ROMEO:', { maxNewTokens: 12 })
    const read = async () => {
      let text = ''
      for await (const chunk of generation) text += chunk.text
      return text
    }
    const [a, b] = await Promise.all([read(), read()])
    expect([a, b]).toEqual([(await generation).text, a])
  })

  it('generation_config.json gives the defaults, the caller overrides them', async () => {
    const copy = copyCheckpoint(dir)
    editJson(`${copy}/generation_config.json`, (json) => {
      Object.assign(json, {
        do_sample: true,
        temperature: 1.5,
        top_k: 7,
        repetition_penalty: 1.2,
        eos_token_id: [3, 13],
      })
    })
    await using sampled = await loadModel(copy, { device: 'cpu', maxTokens: 128 })
    const same = {
      temperature: 1.5,
      topK: 7,
      repetitionPenalty: 1.2,
      stopIds: [3, 13],
      seed: 5,
      maxNewTokens: 20,
    }
    const published = await sampled.generate('ROMEO:', { seed: 5, maxNewTokens: 20 })
    expect(published.ids).toEqual((await model().generate('ROMEO:', same)).ids)
    const greedy = await sampled.generate('ROMEO:', {
      temperature: 0,
      repetitionPenalty: 1,
      stopIds: [],
      maxNewTokens: 20,
    })
    expect(greedy.ids).toEqual(
      (await model().generate('ROMEO:', { stopIds: [], maxNewTokens: 20 })).ids,
    )
  })

  it('top-k 1 is greedy at any temperature', async () => {
    const greedy = await model().generate('To be', { maxNewTokens: 16 })
    expect(
      (await model().generate('To be', { maxNewTokens: 16, topK: 1, temperature: 5 })).ids,
    ).toEqual(greedy.ids)
  })

  it('a repetition penalty changes what repeats', async () => {
    const plain = await model().generate('the the the', { maxNewTokens: 40, stopIds: [] })
    const penalised = await model().generate('the the the', {
      maxNewTokens: 40,
      repetitionPenalty: 1.8,
      stopIds: [],
    })
    expect(new Set(penalised.ids).size).toBeGreaterThan(new Set(plain.ids).size)
  })

  it('routing: one row for each processed token', async () => {
    const { routing, ids } = await model().generate([5, 6, 7], {
      maxNewTokens: 4,
      routing: true,
      stopIds: [],
    })
    expect(routing).toHaveLength(model().config.numLayers)
    const forward = await model().forward([5, 6, 7, ...ids.slice(0, 3)], { routing: true })
    expect(routing).toEqual(forward.routing)
  })

  it('routing of new tokens alone: behind a cached prompt, and with each token as it comes', async () => {
    const prompt = range(70).map((i) => 5 + (i % 90))
    const options = { maxNewTokens: 4, stopIds: [] }
    const { ids } = await model().generate(prompt, options)
    const all = (await model().forward([...prompt, ...ids], { routing: true })).routing!
    const rows = (from: number, to: number) =>
      all.map((layer) => {
        const of = <T extends Float32Array | Int32Array>(values: T) => {
          const width = values.length / 74
          return values.slice(from * width, to * width)
        }
        const { expertIds, weights, logits } = layer!
        return { expertIds: of(expertIds), weights: of(weights), logits: of(logits) }
      })
    const generation = model().generate(prompt, { ...options, routing: 'new' })
    let at = 69
    for await (const { routing } of generation) expect(routing).toEqual(rows(at, ++at))
    const { routing, usage } = await generation
    expect(routing).toEqual(rows(70, 73))
    expect(usage.cachedTokens).toBe(64)
    const one = await model().generate(prompt, { ...options, maxNewTokens: 1, routing: 'new' })
    expect(one.routing!.map((layer) => layer!.expertIds.length)).toEqual(all.map(() => 0))
    const stopped = { ...options, stopIds: [ids[2]!], routing: 'new' } as const
    expect((await model().generate(prompt, stopped)).routing).toEqual(rows(70, 72))
  })

  it('stop ids end the text and are not part of it; a list replaces the default, [] disables it', async () => {
    const free = await model().generate('ROMEO:', { maxNewTokens: 12, stopIds: [] })
    const stopId = free.ids[6]!
    const at = free.ids.indexOf(stopId)
    const stopped = await model().generate('ROMEO:', { maxNewTokens: 12, stopIds: [stopId] })
    expect(stopped.ids).toEqual(free.ids.slice(0, at))
    expect(stopped.finishReason).toBe('stop')
  })

  it('stop strings are cut from the text, also across tokens, and nothing of them is streamed', async () => {
    const free = await model().generate('ROMEO:\n', { maxNewTokens: 40 })
    const stop = free.text.slice(15, 22)
    const generation = model().generate('ROMEO:\n', {
      maxNewTokens: 40,
      stop: ['no such text', stop],
    })
    let streamed = ''
    for await (const { text } of generation) streamed += text
    const result = await generation
    expect(result).toMatchObject({
      text: free.text.slice(0, free.text.indexOf(stop)),
      finishReason: 'stop',
    })
    expect(streamed).toBe(result.text)
  })

  it('what looks like a stop string but is none is not lost', async () => {
    const free = await model().generate('ROMEO:\n', { maxNewTokens: 20 })
    const almost = `${free.text.slice(-3)}#`
    const result = await model().generate('ROMEO:\n', { maxNewTokens: 20, stop: almost })
    expect(result.text).toBe(free.text)
  })

  it('fills the cache and then ends with length', async () => {
    await using small = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
    const { ids, finishReason } = await small.generate(range(30), {
      maxNewTokens: 100,
      stopIds: [],
    })
    expect([ids.length, finishReason]).toEqual([3, 'length'])
  })
})

describe('sampling draws from the distribution it says', () => {
  // Logits whose softmax is 0.5, 0.25, 0.125, 0.0625, 0.0625.
  const p = [0.5, 0.25, 0.125, 0.0625, 0.0625]

  async function frequencies(
    options: { temperature?: number; topK?: number; topP?: number; minP?: number },
    draws = 4000,
  ) {
    const row = [options.temperature ?? 1, options.topP ?? 1, options.minP ?? 0, 1, 0, 0]
    const { ids } = await kernels.sample({
      logits: tensor([draws, p.length], 'f32', (i) => Math.log(p[i % p.length]!)),
      options: tensor([draws, 6], 'f32', (i) => row[i % 6]!),
      counts: ints([draws, 5], (i) => [options.topK ?? 0, 99, 1, Math.floor(i / 5), 0][i % 5]!),
      history: ints([0], () => 0),
      historyOffsets: ints([draws + 1], () => 0),
      vocabulary: p.length,
    })
    return range(p.length).map((id) => ids.data.filter((drawn) => drawn === id).length / draws)
  }

  const renormalised = (weights: number[]) =>
    weights.map((w) => w / weights.reduce((a, b) => a + b))

  it.each<[string, Parameters<typeof frequencies>[0], number[]]>([
    ['temperature 1', {}, p],
    ['temperature 2', { temperature: 2 }, renormalised(p.map(Math.sqrt))],
    ['top-k 2', { topK: 2 }, renormalised([0.5, 0.25, 0, 0, 0])],
    [
      'top-p 0.7: the smallest set that reaches it',
      { topP: 0.7 },
      renormalised([0.5, 0.25, 0, 0, 0]),
    ],
    ['top-p 0.76', { topP: 0.76 }, renormalised([0.5, 0.25, 0.125, 0, 0])],
    ['top-p 0', { topP: 0 }, [1, 0, 0, 0, 0]],
    ['min-p 0.2', { minP: 0.2 }, renormalised([0.5, 0.25, 0.125, 0, 0])],
    [
      'top-k 3, then top-p of what is left',
      { topK: 3, topP: 0.8 },
      renormalised([0.5, 0.25, 0, 0, 0]),
    ],
  ])('%s', async (_, options, want) => {
    const got = await frequencies(options)
    // Four standard deviations of a count of 4000 draws.
    for (const [id, share] of want.entries())
      expect(Math.abs(got[id]! - share)).toBeLessThanOrEqual(
        4 * Math.sqrt((share * (1 - share)) / 4000),
      )
  })
})

describe('abort and disposal', () => {
  it("an abort rejects with the signal's own reason, before and while it runs", async () => {
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 2048 })
    const reason = { why: 'enough' }
    const aborted = AbortSignal.abort(reason)
    expect(await failure(() => model.generate('x', { signal: aborted }))).toBe(reason)
    expect(await failure(() => model.forward([1], { signal: aborted }))).toBe(reason)

    const controller = new AbortController()
    const generation = model.generate('x', {
      signal: controller.signal,
      maxNewTokens: 1000,
      stopIds: [],
    })
    const seen = await failure(async () => {
      for await (const _ of generation) controller.abort(reason)
    })
    expect(seen).toBe(reason)
    expect(await failure(() => generation)).toBe(reason)
    // The cache is free again.
    expect((await model.generate('x', { maxNewTokens: 1500, stopIds: [] })).ids).toHaveLength(1500)
  })

  it('an aborted forward leaves its sequence as it was', async () => {
    await using model = await loadModel(`${root}/demo/yuan-tiny`, {
      device: 'cpu',
      maxTokens: 2048,
    })
    using sequence = model.sequence()
    await sequence.forward(range(40), { logits: 'none' })
    const controller = new AbortController()
    const running = sequence.forward(range(1500), { signal: controller.signal })
    setTimeout(() => controller.abort(new Error('enough')), 2)
    expect((await failure(() => running)).message).toBe('enough')
    expect(sequence.length).toBe(40)
    const { logits } = await sequence.forward([7])
    expect(logits).toEqual((await model.forward([...range(40), 7])).logits)
  })

  it('leaving the loop early stops the work', async () => {
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 128 })
    const generation = model.generate('x', { maxNewTokens: 100, stopIds: [] })
    for await (const _ of generation) break
    expect(await failure(() => generation)).toMatchObject({ name: 'AbortError' })
  })

  it('dispose while running: the call rejects, dispose resolves, a second one does nothing', async () => {
    const model = await loadModel(dir, { device: 'cpu', maxTokens: 2048 })
    using sequence = model.sequence()
    const calls = [
      model.generate('x', { maxNewTokens: 1500, stopIds: [] }),
      model.forward(range(400), { logits: 'all' }),
      sequence.forward(range(400)),
    ].map((call) => failure(() => call))
    await new Promise((resolve) => setTimeout(resolve, 3))
    await model.dispose()
    await model.dispose()
    for (const error of await Promise.all(calls))
      expect(error).toMatchObject({ code: 'ERR_MOE_DISPOSED' })
  })

  it('use after dispose is an error', async () => {
    const model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
    const sequence = model.sequence()
    await model.dispose()
    for (const use of [
      () => model.forward([1]),
      () => model.generate('x'),
      () => model.sequence(),
      () => sequence.forward([1]),
      () => sequence.fork(),
      () => sequence.truncate(0),
    ])
      expect(await failure(use)).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_DISPOSED' })
    sequence.dispose()
  })
})
