import { getEventListeners } from 'node:events'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { GenerateOptions } from '../../lib/index.ts'
import { failure } from '../support/files.ts'
import { root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

// What users of other runtimes reported as bugs.

const model = useModel(`${root}/demo/moepp-tiny`, { device: 'cpu', maxTokens: 1024 })
const prompt = 'ROMEO:\nWhat say you'
const generate = (options: GenerateOptions = {}) =>
  model().generate(prompt, { maxNewTokens: 24, stopIds: [], ...options })

async function streamed(options: GenerateOptions) {
  const generation = generate(options)
  let text = ''
  for await (const chunk of generation) text += chunk.text
  return { text, result: await generation }
}

describe('sampling', () => {
  it.each([1e-3, 1e-4, 1e-5, 1e-6, 1e-12, 5e-324])(
    'temperature %d is as good as greedy',
    async (temperature) => {
      const { ids } = await generate()
      expect((await generate({ temperature, seed: 1 })).ids).toEqual(ids)
    },
  )
  it.each([{ topP: 1e-4 }, { topP: 5e-324 }, { topK: 1 }, { minP: 1 }])(
    '%j too',
    async (options) => {
      const { ids } = await generate()
      expect((await generate({ ...options, temperature: 3, seed: 1 })).ids).toEqual(ids)
    },
  )
  it('presence and frequency count the answer alone, repetition the prompt, too', async () => {
    const next = async (options: GenerateOptions) =>
      (await generate({ maxNewTokens: 1, ...options })).ids[0]!
    const plain = await next({})
    const ids = [...model().tokenizer!.encode(prompt)]
    // A prompt that has the token which follows it.
    const answer = async (options: GenerateOptions) => {
      const all = { maxNewTokens: 1, stopIds: [], ...options }
      return (await model().generate([plain, ...ids], all)).ids[0]!
    }
    const expected = await answer({})
    expect([plain, ...ids]).toContain(expected)
    expect(await answer({ presencePenalty: 1000, frequencyPenalty: 1000 })).toBe(expected)
    expect(await answer({ repetitionPenalty: 1000 })).not.toBe(expected)
  })
})

describe('a stream with stop strings', () => {
  it('has the text of the result, wherever a stop string may begin or end', async () => {
    const { text } = await generate()
    const stops = [text.at(-1)!, text.slice(-2, -1), text.slice(7, 11), `${text.slice(-3)}never`]
    for (const stop of [...stops.map((one) => [one]), stops, [`${text.slice(3, 9)}never`]]) {
      const { text: shown, result } = await streamed({ stop })
      expect(shown).toBe(result.text)
      const at = Math.min(...stop.map((one) => text.indexOf(one)).filter((i) => i >= 0))
      expect(result.text).toBe(Number.isFinite(at) ? text.slice(0, at) : text)
    }
  })
  it('does not stop for what the prompt says', async () => {
    const { text } = await generate()
    expect(text).not.toContain('ROMEO:')
    expect((await generate({ stop: ['ROMEO:', 'say you'] })).text).toBe(text)
  })
  it('stops at a special token that is given as text', async () => {
    const name = '<eod>'
    const id = model().tokenizer!.specialIds.get(name)!
    // At this temperature all tokens are as likely, and with this seed it comes soon.
    const hot = { temperature: 1e4, seed: 10, maxNewTokens: 500 }
    const byId = await generate({ ...hot, stopIds: [id] })
    expect(byId).toMatchObject({ finishReason: 'stop', stopReason: id })
    const byText = await generate({ ...hot, stop: name })
    expect(byText).toMatchObject({ text: byId.text, ids: byId.ids, stopReason: name })
    expect((await generate({ ...hot, stop: [name], stopIds: [id] })).stopReason).toBe(id)
  })
})

describe('large and odd prompts', () => {
  it('millions of characters are an error of the context, not of the stack', async () => {
    const error = await failure(() => model().generate('word '.repeat(400_000)))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CONTEXT_FULL' })
    const ids = await failure(() => model().generate(new Int32Array(2_000_000)))
    expect(ids.code).toBe('ERR_MOE_CONTEXT_FULL')
  })
  it('characters of several tokens come whole', async () => {
    const { tokenizer } = model()
    const text = '한국어 中文 🏋️‍♂️ 👩‍👩‍👧'
    const stream = tokenizer!.stream()
    let out = ''
    for (const id of tokenizer!.encode(text, { addSpecialTokens: false })) {
      const part = stream.push(id)
      expect(part).not.toContain('\ufffd')
      out += part
    }
    expect(out + stream.end()).toBe(text)
  })
  it('a special token in the prompt is no second BOS unless it is written', async () => {
    const ids = model().tokenizer!.encode('a')
    const { bosId } = model().tokenizer!
    expect(ids.filter((id) => id === bosId).length).toBeLessThan(2)
  })
})

it('one signal for many calls: no warning, and no listener stays', async () => {
  const { signal } = new AbortController()
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  const calls = Array.from({ length: 30 }, () => generate({ signal, maxNewTokens: 2 }))
  await Promise.all(calls)
  await Promise.all(calls.map(() => model().forward([1], { signal })))
  await setImmediate() // warnings come in the next tick
  process.off('warning', onWarning)
  expect(warnings).toEqual([])
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

describe('a call that waits for the blocks of one that has ended', () => {
  const small = useModel(`${root}/demo/mixtral-tiny`, { device: 'cpu', maxTokens: 64 })
  const asked = { maxNewTokens: 40, stopIds: [] }

  it.each([0, 1, 3])('of a sequence that was disposed meanwhile, after %i ms', async (ms) => {
    const sequence = small().sequence()
    const running = sequence.generate('ROMEO:', { ...asked, maxNewTokens: 30 })
    await setTimeout(ms)
    sequence.dispose()
    expect((await small().generate('a', asked)).ids).toHaveLength(40)
    expect((await running).ids).toHaveLength(30)
  })

  it('of one that was aborted', async () => {
    const abort = new AbortController()
    const aborted = failure(() => small().generate('ROMEO:', { ...asked, signal: abort.signal }))
    const waiting = small().generate('a', { ...asked, cacheSalt: 'x' })
    await setTimeout(1)
    abort.abort(new Error('mine'))
    expect((await aborted).message).toBe('mine')
    expect((await waiting).ids).toHaveLength(40)
  })

  it('but one that never fits beside a kept text fails', async () => {
    using sequence = small().sequence()
    await sequence.forward([1, 2, 3])
    const error = await failure(() => small().generate('a', asked))
    expect(error).toMatchObject({ code: 'ERR_MOE_CONTEXT_FULL' })
    expect(error.message).toMatch(/less 32 that sequences hold until they are disposed/)
  })
})
