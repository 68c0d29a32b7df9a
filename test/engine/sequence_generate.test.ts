import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { fixture, range, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const moepp = `${root}/demo/moepp-tiny`
const text = (n: number, seed: number): number[] =>
  range(n).map((i) => (i * i * 7 + i * seed + 3) % 97)

describe.each([
  ['yuan', `${root}/demo/yuan-tiny`],
  ['yuan, eod reset', fixture('golden/yuan/tiny-d-variant')],
  ['moepp', moepp],
  ['mixtral', `${root}/demo/mixtral-tiny`],
  ['mixtral, sliding window', fixture('golden/mixtral/window-f32')],
])('sequence.generate: %s', (_, dir) => {
  const model = useModel(dir, { maxTokens: 512 })

  it.each([
    ['greedy', {}],
    ['sampling', { temperature: 0.9, seed: 11 }],
    ['penalties', { repetitionPenalty: 1.3, presencePenalty: 0.2 }],
  ])('three turns equal the generation of the whole text: %s', async (_, sampling) => {
    using sequence = model().sequence()
    const all: number[] = []
    for (const turn of range(3)) {
      const prompt = text(5 + 20 * turn, turn)
      const options = { maxNewTokens: 9, stopIds: [], logprobs: 2, ...sampling }
      all.push(...prompt)
      const whole = await model().generate(all, options)
      const got = await sequence.generate(prompt, options)
      // Presence counts new tokens: those of this call.
      expect(got.ids).toEqual(whole.ids)
      expect(got.logprobs).toEqual(whole.logprobs)
      expect(got.usage).toEqual({
        promptTokens: prompt.length,
        cachedTokens: 0,
        completionTokens: 9,
      })
      all.push(...got.ids)
      expect(sequence.ids).toEqual(all)
    }
    expect((await sequence.forward([5])).logits).toEqual(
      (await model().forward([...all, 5])).logits,
    )
  })

  it('processes every token once', async () => {
    using chat = model().sequence()
    const rows: number[][] = []
    const chosen: number[][] = range(model().config.numLayers).map(() => [])
    for (const turn of range(3)) {
      const { routing } = await chat.generate(text(10, turn), {
        maxNewTokens: 8,
        stopIds: [],
        routing: true,
      })
      rows.push(routing!.map((layer) => layer!.expertIds.length / model().config.topK))
      for (const [l, layer] of routing!.entries()) chosen[l]!.push(...layer!.expertIds)
    }
    // The last new token of a turn is processed with the next one.
    expect(rows.map(([first]) => first)).toEqual([17, 18, 18])
    const whole = await model().forward(chat.ids.slice(0, -1), { routing: true })
    expect(chosen).toEqual(whole.routing!.map((layer) => Array.from(layer!.expertIds)))
  })

  it('a stop id is no part of the text that goes on', async () => {
    const prompt = text(12, 4)
    const free = await model().generate(prompt, { maxNewTokens: 12, stopIds: [] })
    const stop = free.ids[5]!
    const kept = free.ids.slice(0, free.ids.indexOf(stop))
    using sequence = model().sequence()
    const { ids, finishReason } = await sequence.generate(prompt, { stopIds: [stop] })
    expect([ids, finishReason]).toEqual([kept, 'stop'])
    expect(sequence.ids).toEqual([...prompt, ...kept])
    using copy = sequence.fork()
    const more = await sequence.forward([1, 2], { logits: 'all' })
    const whole = await model().forward([...prompt, ...kept, 1, 2], { logits: 'all' })
    expect(more.logits).toEqual(whole.logits.subarray(-more.logits.length))
    expect((await copy.forward([1, 2], { logits: 'all' })).logits).toEqual(more.logits)
  })

  it('goes on after a fork and after a cut', async () => {
    const options = { maxNewTokens: 7, stopIds: [] }
    using sequence = model().sequence()
    await sequence.generate(text(40, 2), options)
    const before = sequence.ids
    using copy = sequence.fork()
    const [a, b] = await Promise.all([
      sequence.generate([1, 2], options),
      copy.generate([3], options),
    ])
    expect(a.ids).toEqual((await model().generate([...before, 1, 2], options)).ids)
    expect(b.ids).toEqual((await model().generate([...before, 3], options)).ids)
    sequence.truncate(37)
    const c = await sequence.generate([9], options)
    expect(c.ids).toEqual((await model().generate([...before.slice(0, 37), 9], options)).ids)
  })

  it('what is left early or aborted leaves the sequence as it was', async () => {
    using sequence = model().sequence()
    await sequence.generate(text(35, 6), { maxNewTokens: 3, stopIds: [] })
    const before = sequence.ids
    const left = sequence.generate([4, 5, 6], { maxNewTokens: 100, stopIds: [] })
    for await (const _ of left) break
    expect(await failure(() => left)).toMatchObject({ name: 'AbortError' })
    expect(sequence.ids).toEqual(before)
    const controller = new AbortController()
    const { signal } = controller
    const aborted = sequence.generate([7], { maxNewTokens: 100, stopIds: [], signal })
    const error = await failure(async () => {
      for await (const _ of aborted) controller.abort('enough')
    })
    expect(error).toBe('enough')
    await failure(() => aborted)
    using copy = sequence.fork() // idle at once
    expect(copy.ids).toEqual(before)
    const whole = await model().forward([...before, 8])
    expect((await sequence.forward([8])).logits).toEqual(whole.logits)
  })
})

describe('calls on one sequence', () => {
  const model = useModel(moepp, { maxTokens: 128 })
  const options = { maxNewTokens: 6, stopIds: [] }

  it('run in order', async () => {
    using sequence = model().sequence()
    const [a, b, c] = await Promise.all([
      sequence.generate([1, 2, 3], options),
      sequence.forward([4, 5]),
      sequence.generate([6], options),
    ])
    const first = await model().generate([1, 2, 3], options)
    const text = [1, 2, 3, ...first.ids, 4, 5]
    expect(a.ids).toEqual(first.ids)
    expect(b.logits).toEqual((await model().forward(text)).logits)
    expect(c.ids).toEqual((await model().generate([...text, 6], options)).ids)
  })

  it('only the first text has BOS', async () => {
    const dir = copyCheckpoint(moepp)
    editJson(`${dir}/tokenizer_config.json`, (json) => {
      json.add_bos_token = true
    })
    await using withBos = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
    using sequence = withBos.sequence()
    await sequence.generate('KING:', { maxNewTokens: 2, stopIds: [] })
    const length = sequence.length
    await sequence.generate('What?', { maxNewTokens: 1, stopIds: [] })
    const tokenizer = withBos.tokenizer!
    expect(sequence.ids.slice(0, length - 2)).toEqual(tokenizer.encode('KING:'))
    const second = tokenizer.encode('What?', { addSpecialTokens: false })
    expect(sequence.ids.slice(length, -1)).toEqual(second)
    expect(tokenizer.encode('What?')).not.toEqual(second)
  })

  it('fork and truncate wait for nobody: they refuse', async () => {
    using sequence = model().sequence()
    const running = sequence.generate([1], options)
    for (const call of [() => sequence.fork(), () => sequence.truncate(0)])
      expect((await failure(call)).message).toMatch(/sequence must be idle/)
    await running
    sequence.truncate(0)
    expect(sequence.length).toBe(0)
  })

  it('a wrong call changes nothing, and the next one runs', async () => {
    using sequence = model().sequence()
    await sequence.forward([1, 2, 3], { logits: 'none' })
    const wrong = [
      () => sequence.generate([]),
      () => sequence.generate([2048]),
      () => sequence.generate([1], { temperature: -1 }),
      () => sequence.generate([1], null as never),
      () => sequence.generate([1], { signal: AbortSignal.abort('no') }),
      () => sequence.generate(range(126)),
      () => sequence.forward([4], { logits: 'x' as never }),
      () => sequence.forward([4], { signal: AbortSignal.abort('no') }),
    ]
    for (const call of wrong) {
      await failure(call)
      expect(sequence.ids).toEqual([1, 2, 3])
    }
    const { logits } = await sequence.forward([4])
    expect(logits).toEqual((await model().forward([1, 2, 3, 4])).logits)
  })

  it('fills the cache, ends with length, and then is full', async () => {
    await using small = await loadModel(moepp, { device: 'cpu', maxTokens: 64 })
    using sequence = small.sequence()
    await sequence.forward(range(40), { logits: 'none' })
    const { ids, finishReason } = await sequence.generate([1, 2], { stopIds: [] })
    expect([ids.length, finishReason]).toEqual([64 - 42 + 1, 'length'])
    expect(await failure(() => sequence.generate([1]))).toMatchObject({
      code: 'ERR_MOE_CONTEXT_FULL',
    })
    sequence.truncate(10)
    expect((await sequence.generate([1], options)).ids).toHaveLength(6)
  })

  it('gives back what it reserved in vain', async () => {
    using sequence = model().sequence()
    const { ids } = await model().generate([1, 2], options)
    await sequence.generate([1, 2], { maxNewTokens: 120, stopIds: [ids[1]!] })
    expect((await model().generate(range(90), { maxNewTokens: 7, stopIds: [] })).ids).toHaveLength(
      7,
    )
  })

  it('forks that share most of a full cache sample with penalties', async () => {
    await using small = await loadModel(moepp, { device: 'cpu', maxTokens: 128 })
    using source = small.sequence()
    await source.forward(text(64, 3), { logits: 'none' })
    const penalised = { ...options, repetitionPenalty: 1.4 }
    const forks = [source.fork(), source.fork()]
    const results = await Promise.all(forks.map((fork, i) => fork.generate([i + 1], penalised)))
    for (const fork of forks) fork.dispose()
    for (const [i, { ids }] of results.entries())
      expect(ids).toEqual((await model().generate([...text(64, 3), i + 1], penalised)).ids)
  })

  it('dispose of the sequence or the model ends what waits', async () => {
    const own = await loadModel(moepp, { device: 'cpu', maxTokens: 1024 })
    const sequence = own.sequence()
    const fork = sequence.fork()
    const calls = [
      sequence.generate([1], { maxNewTokens: 900, stopIds: [] }),
      sequence.forward([1]),
      fork.generate([2], options).then(() => fork.generate([3], { maxNewTokens: 900 })),
    ].map((call) => failure(() => call))
    await new Promise((resolve) => setTimeout(resolve, 3))
    await own.dispose()
    for (const error of await Promise.all(calls))
      expect(error).toMatchObject({ code: 'ERR_MOE_DISPOSED' })
    expect(await failure(() => fork.generate([1]))).toMatchObject({ code: 'ERR_MOE_DISPOSED' })
  })
})
