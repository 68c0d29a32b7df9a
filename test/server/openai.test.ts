import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { byteLetters } from '../../lib/tokenizer/bytes.ts'
import { CheckedTokenizer } from '../../lib/tokenizer/tokenizer.ts'
import { failure } from '../support/files.ts'
import { root } from '../support/golden.ts'
import { events, post, useServer } from './support.ts'

// The official client against the server.

const { url, model } = useServer(`${root}/demo/moepp-tiny`)
const client = () => new OpenAI({ baseURL: `${url()}/v1`, apiKey: 'none', maxRetries: 0 })
const messages = [{ role: 'user' as const, content: 'Good morrow.' }]
const chat = { model: 'demo', messages, max_tokens: 12, temperature: 0 }
const text = { model: 'demo', prompt: 'ROMEO:', max_tokens: 12, temperature: 0 }
const expected = () => model().chat(messages, { maxNewTokens: 12, temperature: 0 })

describe('chat completions', () => {
  it('whole', async () => {
    const completion = await client().chat.completions.create(chat)
    const { text, usage } = await expected()
    expect(completion).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: 'demo',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: text },
          finish_reason: 'length',
          logprobs: null,
        },
      ],
      usage: {
        prompt_tokens: usage.promptTokens,
        completion_tokens: 12,
        total_tokens: usage.promptTokens + 12,
      },
    })
  })

  it('streamed', async () => {
    const stream = await client().chat.completions.create({ ...chat, stream: true })
    const chunks = []
    for await (const chunk of stream) chunks.push(chunk)
    expect(chunks[0]!.choices[0]!.delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.at(-1)!.choices[0]).toMatchObject({ delta: {}, finish_reason: 'length' })
    const content = chunks.map(({ choices }) => choices[0]!.delta.content ?? '').join('')
    expect(content).toBe((await expected()).text)
    expect(new Set(chunks.map(({ id, object }) => `${id} ${object}`)).size).toBe(1)
    for (const chunk of chunks) expect(chunk).not.toHaveProperty('usage')
  })

  it('by the client’s own helper', async () => {
    const runner = client().chat.completions.stream(chat)
    expect((await runner.finalChatCompletion()).choices[0]!.message.content).toBe(
      (await expected()).text,
    )
  })

  it.each([
    [{ include_usage: true }, true],
    [{}, false],
    [{ include_usage: false }, false],
    [null, false],
  ])('usage in streams: %j', async (stream_options, wanted) => {
    const all = await events(`${url()}/v1/chat/completions`, { ...chat, stream_options })
    expect(all.at(-1)).toBe('[DONE]')
    const usages = all.slice(0, -1).map((one) => one.usage)
    if (!wanted) return expect(new Set(usages)).toEqual(new Set([undefined]))
    expect(all.at(-2)).toMatchObject({ choices: [], usage: { completion_tokens: 12 } })
    expect(new Set(usages.slice(0, -1))).toEqual(new Set([null]))
  })

  it('several choices, each from a seed of its own', async () => {
    const asked = { ...chat, n: 3, temperature: 1, seed: 7 }
    const { choices, usage } = await client().chat.completions.create(asked)
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(new Set(choices.map(({ message }) => message.content)).size).toBe(3)
    const prompt = (await expected()).usage.promptTokens
    expect(usage).toMatchObject({ prompt_tokens: prompt, completion_tokens: 36 })
    const again = await client().chat.completions.create({ ...asked, n: 1, seed: 9 })
    expect(again.choices[0]!.message.content).toBe(choices[2]!.message.content)
    const streamed = await events(`${url()}/v1/chat/completions`, asked)
    for (const { index, message } of choices) {
      const pieces = streamed.slice(0, -1).flatMap((one) => one.choices)
      const own = pieces.filter((one: { index: number }) => one.index === index)
      expect(own.map((one: any) => one.delta.content ?? '').join('')).toBe(message.content)
    }
  })

  it('a top_k or a seed of -1 is none, as for vLLM', async () => {
    const asked = { ...chat, temperature: 1, ignore_eos: true, seed: 7 }
    const ask = async (more: object) =>
      (await client().chat.completions.create({ ...asked, ...more })).choices[0]!.message.content
    expect(await ask({ top_k: -1 })).toBe(await ask({ top_k: 0 }))
    const free = { max_tokens: 20, seed: -1 }
    expect(await ask(free)).not.toBe(await ask(free))
  })

  it.each([undefined, 0, 3])('logprobs with top_logprobs %j', async (top) => {
    const asked = { ...chat, logprobs: true, ...(top !== undefined && { top_logprobs: top }) }
    const { choices } = await client().chat.completions.create(asked)
    const content = choices[0]!.logprobs!.content!
    expect(content.length).toBe(12)
    for (const { token, logprob, bytes, top_logprobs } of content) {
      expect(logprob).toBeLessThanOrEqual(0)
      if (bytes) expect(Buffer.from(bytes).toString()).toBe(token)
      expect(top_logprobs.length).toBe(top ?? 0)
      if (top) expect(top_logprobs[0]).toMatchObject({ token, logprob })
    }
    expect(content.map(({ token }) => token).join('')).toBe(choices[0]!.message.content)
    const streamed = await events(`${url()}/v1/chat/completions`, asked)
    const all = streamed.slice(0, -1).flatMap((one) => one.choices[0].logprobs?.content ?? [])
    expect(all).toEqual(content)
  })

  it('stop strings and ids end it', async () => {
    const { text: whole } = await expected()
    const stop = whole.slice(4, 7)
    const { choices } = await client().chat.completions.create({ ...chat, stop: [stop, 'zzzz'] })
    expect(choices[0]).toMatchObject({
      message: { content: whole.slice(0, whole.indexOf(stop)) },
      finish_reason: 'stop',
    })
    const { ids } = await expected()
    const { json } = await post(`${url()}/v1/chat/completions`, {
      ...chat,
      ...{ stop_token_ids: [ids[3]], return_token_ids: true },
    })
    expect(json.choices[0].token_ids).toEqual(ids.slice(0, ids.indexOf(ids[3]!)))
  })

  it('what was cached is told', async () => {
    const long = [{ role: 'user' as const, content: 'O, speak again, bright angel! '.repeat(12) }]
    const once = await client().chat.completions.create({ ...chat, messages: long })
    const turns = [...long, once.choices[0]!.message as never, ...messages]
    const twice = await client().chat.completions.create({ ...chat, messages: turns })
    expect(once.usage!.prompt_tokens_details).toEqual({ cached_tokens: 0 })
    expect(twice.usage!.prompt_tokens_details!.cached_tokens).toBeGreaterThan(60)
  })
})

describe('text completions', () => {
  it('whole and streamed', async () => {
    const { choices, usage, object } = await client().completions.create(text)
    const wanted = await model().generate('ROMEO:', { maxNewTokens: 12, temperature: 0 })
    expect([object, choices[0]!.text]).toEqual(['text_completion', wanted.text])
    expect(usage).toMatchObject({ completion_tokens: 12 })
    const stream = await client().completions.create({ ...text, stream: true })
    let all = ''
    for await (const chunk of stream) all += chunk.choices[0]!.text
    expect(all).toBe(wanted.text)
  })

  it('prompts of every kind, and several choices of each', async () => {
    const ids = model().tokenizer!.encode('ROMEO:')
    const [one] = (await client().completions.create(text)).choices
    for (const prompt of [ids, ['ROMEO:'], [ids]])
      expect((await client().completions.create({ ...text, prompt })).choices[0]!.text).toBe(
        one!.text,
      )
    const { choices, usage } = await client().completions.create({
      ...{ ...text, prompt: ['ROMEO:', 'JULIET:'] },
      ...{ n: 2, temperature: 1, seed: 3 },
    })
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
    const juliet = model().tokenizer!.encode('JULIET:')
    expect(usage).toMatchObject({
      prompt_tokens: ids.length + juliet.length,
      completion_tokens: 48,
    })
  })

  it('logprobs and their offsets', async () => {
    const { choices } = await client().completions.create({ ...text, logprobs: 2 })
    const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0]!.logprobs!
    expect(tokens!.join('')).toBe(choices[0]!.text)
    expect([token_logprobs!.length, top_logprobs!.length]).toEqual([12, 12])
    for (const [i, offset] of text_offset!.entries())
      expect(choices[0]!.text.slice(offset).startsWith(tokens![i]!)).toBe(true)
    const streamed = await events(`${url()}/v1/completions`, { ...text, logprobs: 2 })
    const offsets = streamed
      .slice(0, -1)
      .flatMap((one) => one.choices[0].logprobs?.text_offset ?? [])
    expect(offsets).toEqual(text_offset)
  })

  it('echo puts the prompt first', async () => {
    const plain = (await client().completions.create(text)).choices[0]!.text
    const { choices } = await client().completions.create({ ...text, echo: true })
    expect(choices[0]!.text).toBe(`ROMEO:${plain}`)
    const streamed = await events(`${url()}/v1/completions`, { ...text, echo: true })
    expect(
      streamed
        .slice(0, -1)
        .map((one) => one.choices[0].text)
        .join(''),
    ).toBe(`ROMEO:${plain}`)
  })

  it('logprobs tell the bytes of tokens that are no whole character', async () => {
    const asked = { ...text, prompt: '“é', max_tokens: 0, echo: true, logprobs: 1 }
    const { choices } = await client().completions.create(asked)
    const { tokens } = choices[0]!.logprobs!
    const bytes = ['e2', '80', '9c', 'c3', 'a9'].map((hex) => `bytes:\\x${hex}`)
    expect(tokens!.slice(-5)).toEqual(bytes)
    const letters = CheckedTokenizer.letters(model().tokenizer as CheckedTokenizer)
    const id = letters.indexOf(byteLetters[0xe2]!)
    const { choices: chats } = await client().chat.completions.create({
      ...{ ...chat, logprobs: true, max_tokens: 1, logit_bias: { [id]: 100 } },
    })
    expect(chats[0]!.logprobs!.content![0]).toMatchObject({ token: '\ufffd', bytes: [0xe2] })
  })

  it('an echoed prompt has logprobs, also without a new token', async () => {
    const prompt = 'ROMEO: What light'
    const ids = model().tokenizer!.encode(prompt)
    const { promptLogprobs } = await model().generate(ids, { maxNewTokens: 1, promptLogprobs: 2 })
    for (const max_tokens of [0, 2]) {
      const { choices, usage } = await client().completions.create({
        ...{ ...text, prompt, max_tokens, echo: true, logprobs: 2 },
      })
      const { tokens, token_logprobs, top_logprobs, text_offset } = choices[0]!.logprobs!
      expect([tokens!.length, usage!.completion_tokens]).toEqual([
        ids.length + max_tokens,
        max_tokens,
      ])
      expect([token_logprobs![0], top_logprobs![0]]).toEqual([null, null])
      const told = promptLogprobs!.map((one) => one?.logprob ?? null)
      expect(token_logprobs!.slice(0, ids.length)).toEqual(told)
      expect(Object.values(top_logprobs![1]!)).toEqual(
        promptLogprobs![1]!.top.map(({ logprob }) => logprob),
      )
      expect(choices[0]!.text.startsWith(prompt)).toBe(true)
      const last = text_offset![ids.length - 1]!
      expect(prompt.slice(last)).toBe(tokens![ids.length - 1])
    }
  })

  it('prompt_logprobs as vLLM has them', async () => {
    const body = { ...text, max_tokens: 1, prompt_logprobs: 1, return_token_ids: true }
    const { json } = await post(`${url()}/v1/completions`, body)
    const ids = model().tokenizer!.encode('ROMEO:')
    const scores = json.choices[0].prompt_logprobs
    expect([scores.length, scores[0]]).toEqual([ids.length, null])
    for (const [i, id] of ids.entries()) {
      if (i === 0) continue
      const entry = scores[i][id]
      expect(entry).toMatchObject({
        logprob: expect.any(Number),
        decoded_token: expect.any(String),
      })
      const best: any = Object.values(scores[i]).find((one: any) => one.rank === 1)
      expect(best.logprob).toBeGreaterThanOrEqual(entry.logprob)
    }
    expect(json.choices[0].logprobs).toBeNull()
  })

  it('a text has at least so many tokens', async () => {
    const [id] = model().tokenizer!.encode('the', { addSpecialTokens: false })
    const one = { ...text, logit_bias: { [id!]: 100 }, stop_token_ids: [id], min_tokens: 4 }
    const { json } = await post(`${url()}/v1/completions`, { ...one, return_token_ids: true })
    expect(json.choices[0].token_ids.length).toBe(4)
    expect(json.choices[0].finish_reason).toBe('stop')
  })

  it('16 tokens unless it is told otherwise', async () => {
    const { usage } = await client().completions.create({ ...text, max_tokens: null })
    expect(usage!.completion_tokens).toBe(16)
  })
})

describe('answers of a form', () => {
  const schema = {
    ...{ type: 'object', additionalProperties: false, required: ['city', 'degrees'] },
    properties: { city: { enum: ['Rome', 'Verona'] }, degrees: { type: 'integer', maximum: 60 } },
  }
  const json_schema = { name: 'weather', schema, strict: true }
  const response_format = { type: 'json_schema' as const, json_schema }

  it('a schema, whole and streamed', async () => {
    const asked = { ...chat, max_tokens: 60, response_format }
    const { choices } = await client().chat.completions.parse(asked)
    const { city, degrees } = choices[0]!.message.parsed as never
    expect([['Rome', 'Verona'].includes(city), Number.isInteger(degrees)]).toEqual([true, true])
    const stream = client().chat.completions.stream(asked)
    expect((await stream.finalChatCompletion()).choices[0]!.message.content).toBe(
      choices[0]!.message.content,
    )
  })

  it('any object', async () => {
    const asked = { ...chat, max_tokens: 400, response_format: { type: 'json_object' as const } }
    for (const seed of [1, 2, 3, 4]) {
      const more = { ...asked, seed, temperature: 1 }
      const { choices } = await client().chat.completions.create(more)
      if (choices[0]!.finish_reason === 'stop')
        expect(JSON.parse(choices[0]!.message.content!)).toEqual(expect.any(Object))
      expect(choices[0]!.message.content).toMatch(/^\{/)
    }
  })

  it.each<[object, RegExp]>([
    [{ structured_outputs: { regex: '[ab]{3}' } }, /^[ab]{3}$/],
    [{ structured_outputs: { choice: ['yes', 'no'] } }, /^(yes|no)$/],
    [{ guided_json: JSON.stringify({ type: 'boolean' }) }, /^(true|false)$/],
    [{ guided_grammar: 'root ::= "x" [0-9]' }, /^x[0-9]$/],
  ])('as vLLM has it: %j', async (extra, whole) => {
    for (const url_ of ['chat/completions', 'completions']) {
      const body = url_ === 'completions' ? { ...text, ...extra } : { ...chat, ...extra }
      const { json } = await post(`${url()}/v1/${url_}`, body)
      expect(json.choices[0].text ?? json.choices[0].message.content).toMatch(whole)
    }
  })

  it('biases and allowed tokens', async () => {
    const [id] = model().tokenizer!.encode('the', { addSpecialTokens: false })
    const one = { ...text, max_tokens: 3, logit_bias: { [id!]: 100 } }
    const { json } = await post(`${url()}/v1/completions`, { ...one, return_token_ids: true })
    expect(json.choices[0].token_ids).toEqual([id, id, id])
    const few = { ...text, max_tokens: 3, allowed_token_ids: [id], return_token_ids: true }
    const allowed = await post(`${url()}/v1/completions`, few)
    expect(allowed.json.choices[0].token_ids).toEqual([id, id, id])
  })
})

describe('models and errors', () => {
  it('lists the one it has', async () => {
    const { data } = await client().models.list()
    expect(data).toMatchObject([{ id: 'demo', object: 'model', max_model_len: 2048 }])
    expect(await client().models.retrieve('demo')).toMatchObject({ id: 'demo' })
  })

  it('the client knows the kinds of errors', async () => {
    const create = (body: object) =>
      failure(() => client().chat.completions.create({ ...chat, ...body }))
    expect(await create({ model: 'other' })).toMatchObject({
      ...{ name: 'Error', status: 404, code: 'model_not_found', param: 'model' },
    })
    expect(await create({ model: 'other' })).toBeInstanceOf(OpenAI.NotFoundError)
    expect(await create({ temperature: -1 })).toBeInstanceOf(OpenAI.BadRequestError)
    expect(await create({ temperature: -1 })).toMatchObject({ param: 'temperature' })
    const long = [{ role: 'user', content: 'word '.repeat(4000) }]
    expect(await create({ messages: long })).toMatchObject({ code: 'context_length_exceeded' })
  })
})
