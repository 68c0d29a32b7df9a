import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { Exchange } from '../../lib/server/exchange.ts'
import { serve } from '../../lib/server/index.ts'
import { range, root } from '../support/golden.ts'
import { events, post, useServer } from './support.ts'

// What goes wrong beneath a server that must go on. Clients that leave and servers that close are in limits.test.ts.

const demo = `${root}/demo/moepp-tiny`
const { url, model } = useServer(demo, {}, { maxTokens: 256 })
const text = { prompt: 'ROMEO:', temperature: 0, ignore_eos: true }
const idle = () => model().stats.running + model().stats.waiting === 0
const until = async (done: () => boolean) => {
  while (!done()) await sleep(1)
}

describe('a cache that is too small', () => {
  it('for one request: that one is refused, and others end', async () => {
    const long = range(300).map((i) => 5 + (i % 90))
    const [refused, fine] = await Promise.all([
      post(`${url()}/v1/completions`, { ...text, prompt: long }),
      post(`${url()}/v1/completions`, { ...text, max_tokens: 20 }),
    ])
    expect([refused.status, refused.json.error.code]).toEqual([400, 'context_length_exceeded'])
    expect([fine.status, fine.json.usage.completion_tokens]).toEqual([200, 20])
  })

  it('for all at once: they wait or are computed again, and say what they say alone', async () => {
    const prompts = range(12).map((i) => `Act ${i}. Enter`)
    const ask = (prompt: string) =>
      post(`${url()}/v1/completions`, { ...text, prompt, max_tokens: 120 })
    const alone: string[] = []
    for (const prompt of prompts) alone.push((await ask(prompt)).json.choices[0].text)
    const before = model().stats.preemptions
    const all = await Promise.all(prompts.map(ask))
    expect(all.map(({ json }) => json.choices[0].text)).toEqual(alone)
    const preemptions = model().stats.preemptions - before
    expect(preemptions).toBeGreaterThan(0)
    // One makes room only for a block that an older text needs.
    expect(preemptions).toBeLessThan((prompts.length * 120) / 32)
    expect(model().stats.blocks.free).toBe(8)
  })

  it('a text that fills it ends with length', async () => {
    const { json } = await post(`${url()}/v1/completions`, { ...text, max_tokens: 5000 })
    expect(json.choices[0].finish_reason).toBe('length')
    expect(json.usage.total_tokens).toBe(257)
  })
})

describe('a client that leaves in the middle', () => {
  it.each([true, false])('gives its blocks back within two steps; streamed: %j', async (stream) => {
    await using other = await loadModel(demo, { device: 'cpu', maxTokens: 2048 })
    let steps = 0
    let left = false
    // Steps that began after the server knew.
    await using server = await serve(other, {
      port: 0,
      onRequest: () => {
        left = true
        steps = other.stats.steps
      },
    })
    const abort = new AbortController()
    const call = fetch(`${server.url}/v1/completions`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' }, signal: abort.signal },
      body: JSON.stringify({ ...text, max_tokens: 1900, stream }),
    })
    await until(() => other.stats.steps > 20)
    if (stream) await (await call).body!.getReader().read()
    abort.abort()
    await call.catch(() => {})
    await until(() => left)
    expect(other.stats).toMatchObject({ running: 0, blocks: { free: 64 } })
    await sleep(20)
    expect(other.stats.steps - steps).toBeLessThanOrEqual(2)
  })
})

describe('a model that fails', () => {
  it('in the middle of a stream: an event says so, and there is no [DONE]', async () => {
    const other = await loadModel(demo, { device: 'cpu', maxTokens: 2048 })
    await using server = await serve(other, { port: 0 })
    const stream = events(`${server.url}/v1/completions`, { ...text, max_tokens: 1900 })
    await until(() => other.stats.steps > 20)
    await other.dispose()
    const all = await stream
    expect(all.at(-1)).toMatchObject({ error: { code: 'ERR_MOE_DISPOSED', type: 'server_error' } })
    expect(all).not.toContain('[DONE]')
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    const { status } = await post(`${server.url}/v1/completions`, text)
    expect(status).toBe(503)
  })
})

describe('the last event of a stream', () => {
  it('ends it: what another choice says later is said to nobody', async () => {
    const written: string[] = []
    const response = {
      headersSent: true,
      write: (text: string) => written.push(text) > 0,
      end: () => written.push('end'),
    }
    const gone = new AbortController().signal
    const exchange = new Exchange({} as never, response as never, gone, 0)
    await exchange.event('a')
    const last = exchange.lastEvent('b')
    await exchange.event('c')
    await last
    await exchange.event('d')
    expect(written).toEqual(['data: a\n\n', 'data: b\n\n', 'end'])
  })
})

describe('health', () => {
  it('is that of the step that runs, not the time since the last one', async () => {
    let stepBeganAt: number | undefined
    const slow = new Proxy(model(), {
      get(target, name) {
        if (name === 'stats') return { ...target.stats, stepBeganAt }
        const value = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    await using server = await serve(slow, { port: 0 })
    const status = async () => (await fetch(`${server.url}/health`)).status
    expect(await status()).toBe(200)
    stepBeganAt = performance.now() - 30_000
    expect(await status()).toBe(200)
    stepBeganAt = performance.now() - 61_000
    expect(await status()).toBe(503)
    expect((await fetch(`${server.url}/ready`)).status).toBe(200)
  })

  it('a step under way says when it began', async () => {
    expect(model().stats.stepBeganAt).toBeUndefined()
    const before = performance.now()
    const writing = model().generate('ROMEO:', { maxNewTokens: 100, stopIds: [] })
    await until(() => model().stats.steps > 0 && model().stats.stepBeganAt !== undefined)
    expect(model().stats.stepBeganAt).toBeGreaterThanOrEqual(before)
    await writing
    await until(() => model().stats.stepBeganAt === undefined)
  })
})

describe('what others complain about', () => {
  it('a long prompt does not stop those who write', async () => {
    const gaps: number[] = []
    let last = model().stats.steps
    const writer = model().generate('ROMEO:', { maxNewTokens: 60, stopIds: [], temperature: 0 })
    const prompt = range(150).map((i) => 5 + ((i * 7) % 1900))
    const reading = post(`${url()}/v1/completions`, { ...text, prompt, max_tokens: 1 })
    for await (const _ of writer) {
      gaps.push(model().stats.steps - last)
      last = model().stats.steps
    }
    await reading
    // A token a step, whatever else is in it; a first one waits for its prompt.
    expect(Math.max(...gaps.slice(1))).toBeLessThanOrEqual(2)
  })

  it('a conversation that goes on starts behind what is cached, turn by turn', async () => {
    await using other = await loadModel(demo, { device: 'cpu', maxTokens: 2048 })
    await using server = await serve(other, { port: 0 })
    const messages: object[] = []
    let before = 0
    for (const i of range(5)) {
      messages.push({
        role: 'user',
        content: `Speak of act ${i}, and of what comes behind it, my lord.`,
      })
      const { json } = await post(`${server.url}/v1/chat/completions`, {
        ...{ messages, max_tokens: 30, temperature: 0 },
      })
      const { prompt_tokens, prompt_tokens_details, total_tokens } = json.usage
      const cached = prompt_tokens_details.cached_tokens
      // An answer's ids are not always those of its text, so the last turn may be read again.
      expect(cached).toBeGreaterThanOrEqual(i === 0 ? 0 : 32 * Math.floor((before - 1) / 32))
      expect(cached).toBeLessThan(prompt_tokens)
      before = prompt_tokens
      messages.push(json.choices[0].message)
      expect(total_tokens).toBeGreaterThan(prompt_tokens)
    }
  })

  it('a text is one among many what it is alone', async () => {
    const ask = (prompt: string) =>
      post(`${url()}/v1/completions`, { ...text, prompt, max_tokens: 12 })
    const alone = (await ask('KING:')).json.choices[0].text
    const all = await Promise.all(range(40).map((i) => ask(i === 20 ? 'KING:' : `Scene ${i}.`)))
    expect(all[20]!.json.choices[0].text).toBe(alone)
    await until(idle)
  })

  it('a stop string is cut alike from streams', async () => {
    const { json: free } = await post(`${url()}/v1/completions`, { ...text, max_tokens: 40 })
    const whole: string = free.choices[0].text
    for (const from of [3, 8, 15]) {
      const stop = whole.slice(from, from + 4)
      const body = { ...text, max_tokens: 40, stop }
      const { json } = await post(`${url()}/v1/completions`, body)
      expect(json.choices[0].text).toBe(whole.slice(0, whole.indexOf(stop)))
      const pieces = (await events(`${url()}/v1/completions`, body)).slice(0, -1)
      expect(pieces.map((one) => one.choices[0].text).join('')).toBe(json.choices[0].text)
    }
  })
})
