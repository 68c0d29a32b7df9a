import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { type ServedRequest, serve } from '../../lib/server/index.ts'
import { failure } from '../support/files.ts'
import { range, root } from '../support/golden.ts'
import { post, useServer } from './support.ts'

const demo = `${root}/demo/moepp-tiny`
const chat = { messages: [{ role: 'user', content: 'Good morrow.' }], max_tokens: 8 }
const until = async (done: () => boolean) => {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('tokens and templates', () => {
  const { url, model } = useServer(demo)

  it('there and back', async () => {
    const { json } = await post(`${url()}/tokenize`, { prompt: 'ROMEO: hi' })
    expect(json.tokens).toEqual(model().tokenizer!.encode('ROMEO: hi'))
    expect(json).toMatchObject({ count: json.tokens.length, max_model_len: 2048 })
    const back = await post(`${url()}/detokenize`, { tokens: json.tokens })
    expect(back.json.prompt).toContain('ROMEO: hi')
    const { text, ids } = await model().applyChatTemplate(chat.messages)
    expect((await post(`${url()}/apply-template`, chat)).json).toEqual({ prompt: text })
    expect((await post(`${url()}/tokenize`, { messages: chat.messages })).json.tokens).toEqual(ids)
  })

  it('health and metrics', async () => {
    expect(await (await fetch(`${url()}/health`)).json()).toEqual({ status: 'ok' })
    expect((await fetch(`${url()}/ready`)).status).toBe(200)
    await post(`${url()}/v1/chat/completions`, chat)
    const text = await (await fetch(`${url()}/metrics`)).text()
    expect(text).toMatch(/^moe_num_requests_running\{model_name="demo"\} 0$/m)
    expect(text).toMatch(
      /^moe_http_requests_total\{.*route="\/v1\/chat\/completions",method="POST",status="200"\} 1$/m,
    )
    for (const line of text.trim().split('\n'))
      expect(line).toMatch(/^(# (HELP|TYPE) moe_\w+ .+|moe_\w+(\{.*\})? [\d.e+-]+)$/)
  })
})

describe('keys and addresses', () => {
  const { url } = useServer(demo, { apiKey: 'secret' })

  it('without the key nothing but health is answered', async () => {
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: 'secret' }]) {
      const { status, json } = await post(
        `${url()}/v1/chat/completions`,
        chat,
        headers as Record<string, string>,
      )
      expect([status, json.error.code]).toEqual([401, 'invalid_api_key'])
    }
    expect((await fetch(`${url()}/v1/models`)).status).toBe(401)
    expect((await fetch(`${url()}/metrics`)).status).toBe(401)
    expect((await fetch(`${url()}/health`)).status).toBe(200)
    const right = { authorization: 'Bearer secret' }
    expect((await post(`${url()}/v1/chat/completions`, chat, right)).status).toBe(200)
  })

  it('beyond this machine only with a key, or when told so', async () => {
    await using model = await loadModel(demo, { device: 'cpu', maxTokens: 64 })
    expect(await failure(() => serve(model, { host: '0.0.0.0', port: 0 }))).toMatchObject({
      code: 'ERR_MOE_OPTION',
    })
    await using server = await serve(model, { host: '0.0.0.0', port: 0, insecure: true })
    expect(server.url).toMatch(/^http:\/\/0\.0\.0\.0:\d+$/)
  })

  it.each([
    ['prot', { prot: 1 }],
    ['port', { port: -1 }],
    ['host', { host: '' }],
    ['apiKey', { apiKey: '' }],
    ['apiKey', { apiKey: 'with the end of a line\n' }],
    ['onRequest', { onRequest: 7 }],
  ])('an option that is wrong: %s', async (name, options) => {
    await using model = await loadModel(demo, { device: 'cpu', maxTokens: 64 })
    const error = await failure(() => serve(model, options as never))
    expect([error.code, error.message.includes(name)]).toEqual(['ERR_MOE_OPTION', true])
  })
})

describe('clients that leave, and servers that close', () => {
  const requests: ServedRequest[] = []
  const { url, model } = useServer(
    demo,
    { onRequest: (one) => void requests.push(one) },
    { maxWaiting: 2 },
  )
  const long = { ...chat, max_tokens: 2000, ignore_eos: true }
  const idle = () => model().stats.running + model().stats.waiting === 0

  it.each([true, false])('one that leaves ends its text; streamed: %j', async (stream) => {
    for (const _ of range(20)) {
      const abort = new AbortController()
      const call = post_(`${url()}/v1/chat/completions`, { ...long, stream }, abort.signal)
      await until(() => model().stats.running === 1)
      const { steps } = model().stats
      if (stream) await (await call).body!.getReader().read()
      abort.abort()
      await call.catch(() => {})
      await until(idle)
      expect(model().stats.steps - steps).toBeLessThan(1500)
    }
    expect(model().stats.blocks.free).toBe(64)
    expect((await post(`${url()}/v1/chat/completions`, chat)).status).toBe(200)
    const left = requests.filter(({ status }) => status === 499)
    expect(left.length).toBeGreaterThanOrEqual(20)
    expect(left.filter((one) => 'error' in one)).toEqual([]) // no fault of the server
  })

  const post_ = (to: string, body: object, signal: AbortSignal) =>
    fetch(to, {
      ...{ method: 'POST', body: JSON.stringify(body), signal },
      headers: { 'content-type': 'application/json' },
    })

  it('more than may wait get 429 and when to come again', async () => {
    const abort = new AbortController()
    const many = range(66).map(() =>
      post_(
        `${url()}/v1/completions`,
        { prompt: 'a', max_tokens: 900, ignore_eos: true },
        abort.signal,
      ).catch(() => {}),
    )
    await until(() => model().stats.running + model().stats.waiting === 66)
    const { status, headers, json } = await post(`${url()}/v1/chat/completions`, chat)
    expect([status, headers.get('retry-after'), json.error.code]).toEqual([429, '1', 'queue_full'])
    const full = await fetch(`${url()}/ready`)
    expect([full.status, full.headers.get('retry-after')]).toEqual([503, '1'])
    expect((await fetch(`${url()}/health`)).status).toBe(200)
    abort.abort()
    await Promise.all(many)
    await until(idle)
    expect((await fetch(`${url()}/ready`)).status).toBe(200)
  })

  it('one that does not read does not hold up others', async () => {
    const abort = new AbortController()
    await post_(`${url()}/v1/chat/completions`, { ...long, stream: true }, abort.signal)
    expect((await post(`${url()}/v1/chat/completions`, chat)).status).toBe(200)
    abort.abort()
    await until(idle)
  })

  it('one that closes ends its answers first, and refuses new ones', async () => {
    const server = await serve(model(), { port: 0, drainSeconds: 600 })
    const answer = post_(
      `${server.url}/v1/chat/completions`,
      { ...chat, max_tokens: 400, stream: true, ignore_eos: true },
      new AbortController().signal,
    )
    await until(() => model().stats.running === 1)
    const closing = server.close()
    const refused = await post(`${server.url}/v1/chat/completions`, chat)
    expect([refused.status, refused.json.error.code]).toEqual([503, 'draining'])
    expect((await fetch(`${server.url}/ready`)).status).toBe(503)
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    expect(await (await answer).text()).toMatch(/data: \[DONE\]\n\n$/)
    await closing
    expect(await failure(() => fetch(server.url))).toBeInstanceOf(TypeError)
  })

  it('one that does not wait ends them', async () => {
    const server = await serve(model(), { port: 0, drainSeconds: 0 })
    const answer = post_(
      `${server.url}/v1/completions`,
      { prompt: 'a', max_tokens: 2000, ignore_eos: true },
      new AbortController().signal,
    )
    await until(() => model().stats.running === 1)
    await server.close()
    expect(await failure(() => answer)).toBeInstanceOf(TypeError)
    await until(idle)
  })

  it('a port that is taken is the system’s error', async () => {
    const { port } = new URL(url())
    expect(await failure(() => serve(model(), { port: Number(port) }))).toMatchObject({
      code: 'EADDRINUSE',
    })
  })

  it('a model that is gone answers 503', async () => {
    const other = await loadModel(demo, { device: 'cpu', maxTokens: 64 })
    await using server = await serve(other, { port: 0 })
    await other.dispose()
    const { status, json } = await post(`${server.url}/v1/chat/completions`, chat)
    expect([status, json.error.code]).toEqual([503, 'ERR_MOE_DISPOSED'])
  })
})
