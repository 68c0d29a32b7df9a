import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { chat as askAsPage, events as readEvents, readRouting } from '../../page/api.js'
import { answerGrid, columnsOf, inWords, loadGrid, slotsOf } from '../../page/counts.js'
import { range, root } from '../support/golden.ts'
import { events, post, useServer } from './support.ts'

const { url, model } = useServer(`${root}/demo/moepp-tiny`)
const messages = [{ role: 'user' as const, content: 'Good morrow.' }]
const asked = { messages, max_tokens: 12, temperature: 0, ignore_eos: true, routing: true }

/** The experts of [tokens, layers, K], and their weights. */
const unpack = ({ routed_experts: ids, routed_weights: weights }: any) => ({
  ids: [...new Uint16Array(new Uint8Array(Buffer.from(ids, 'base64')).buffer)],
  weights: [...new Float32Array(new Uint8Array(Buffer.from(weights, 'base64')).buffer)],
})

describe('routing over HTTP', () => {
  const wanted = async (maxNewTokens: number, stopIds: number[] = []) => {
    const options = { maxNewTokens, temperature: 0, stopIds, routing: 'new' } as const
    const { routing, ids } = await model().chat(messages, options)
    const tokens = routing![0]!.expertIds.length / 2
    const order = range(tokens).flatMap((t) =>
      routing!.flatMap((layer) => [0, 1].map((k) => [layer!, 2 * t + k] as const)),
    )
    return {
      tokens: ids,
      ids: order.map(([layer, i]) => layer.expertIds[i]!),
      weights: order.map(([layer, i]) => layer.weights[i]!),
    }
  }

  it('is that of the library, whole and in pieces', async () => {
    const { tokens: _, ...routed } = await wanted(12)
    expect(routed.ids).toHaveLength(11 * 4 * 2)
    for (const path of ['chat/completions', 'completions']) {
      const { text: prompt } = await model().applyChatTemplate(messages)
      const body = path === 'completions' ? { ...asked, prompt } : asked
      const { json } = await post(`${url()}/v1/${path}`, body)
      const pieces = (await events(`${url()}/v1/${path}`, body)).slice(0, -1).map(
        // The first token's event comes before anything behind the prompt is processed.
        ({ choices: [choice] }) => (choice.routed_experts === undefined ? [] : [unpack(choice)]),
      )
      const joined = {
        ids: pieces.flat().flatMap(({ ids }) => ids),
        weights: pieces.flat().flatMap(({ weights }) => weights),
      }
      expect(joined).toEqual(unpack(json.choices[0]))
      if (path === 'chat/completions') expect(joined).toEqual(routed)
    }
  })

  it('a text that a stop id ends has a row for its last token, too', async () => {
    const { tokens } = await wanted(12)
    const stop = { ...asked, stop_token_ids: [tokens[5]!] }
    const { tokens: left, ...routed } = await wanted(12, stop.stop_token_ids)
    const { json } = await post(`${url()}/v1/chat/completions`, stop)
    expect(routed.ids).toHaveLength(left.length * 8)
    expect(unpack(json.choices[0])).toEqual(routed)
    const pieces = await events(`${url()}/v1/chat/completions`, stop)
    const last = pieces.at(-2).choices[0]
    expect(unpack(last).ids).toEqual(routed.ids.slice(-8))
  })

  it('nothing unasked, and asked wrongly is refused', async () => {
    const { json } = await post(`${url()}/v1/chat/completions`, { ...asked, routing: false })
    expect(json.choices[0]).not.toHaveProperty('routed_experts')
    const wrong = await post(`${url()}/v1/chat/completions`, { ...asked, routing: 'all' })
    expect([wrong.status, wrong.json.error.param]).toEqual([400, 'routing'])
  })

  it('/v1/stats counts what every expert was chosen for', async () => {
    const read = async () => (await (await fetch(`${url()}/v1/stats`)).json()) as any
    const before = await read()
    expect(before.model).toMatchObject({ name: 'demo', architecture: 'moepp', layers: 4 })
    await post(`${url()}/v1/chat/completions`, asked)
    const { layers, running } = await read()
    const kinds = [...Array(8).fill('ffn'), 'constant', 'constant', 'copy', 'zero']
    expect([running, layers.length]).toEqual([0, 4])
    for (const [l, layer] of layers.entries()) {
      expect(layer).toMatchObject({ kinds, top_k: 2, shared: false })
      expect(layer.tokens - before.layers[l].tokens).toBeGreaterThanOrEqual(11)
      expect(layer.tokens_per_expert.reduce((a: number, b: number) => a + b)).toBe(2 * layer.tokens)
    }
  })
})

describe('what the page computes', () => {
  const layers = [
    null,
    {
      kinds: ['ffn', 'ffn', 'zero'],
      top_k: 2,
      shared: true,
      tokens: 8,
      tokens_per_expert: [8, 4, 4],
    },
  ]
  const token = [
    [],
    [
      { expert: 0, weight: 0.75 },
      { expert: 2, weight: 0 },
    ],
  ]

  it('counts of kinds, and a map with a column for what all tokens pass', () => {
    expect(columnsOf(layers)).toEqual(['ffn', 'ffn', 'zero', 'shared'])
    expect(slotsOf([token, token], layers)).toMatchObject({ slots: { ffn: 2, zero: 2 }, all: 4 })
    const [none, row] = answerGrid([token], layers)
    expect([...none!]).toEqual([0, 0, 0, 0])
    expect([row![0], row![1], row![3]]).toEqual([0.75, 0, 1])
    expect(row![2]).toBeGreaterThan(0) // chosen, though its weight is 0
    expect([...answerGrid([token, token], layers)[1]!]).toEqual([1, 0, 1, 1])
    expect(inWords(token, layers)).toBe('1 FFN, 1 zero of 2 expert slots, and the shared experts')
  })

  it('load since another time, and none where no token came', () => {
    const before = [null, { ...layers[1]!, tokens: 4, tokens_per_expert: [4, 4, 0] }]
    expect([...loadGrid(layers)[1]!]).toEqual([1, 0.5, 0.5, 1])
    expect([...loadGrid(layers, before)[1]!]).toEqual([1, 0, 1, 1])
    expect([...loadGrid(layers, layers)[1]!]).toEqual([0, 0, 0, 0])
  })

  it('events that are cut anywhere, and characters, too', async () => {
    const bytes = new TextEncoder().encode('data: ä1\n\ndata: [DONE]\n\n')
    for (const size of range(bytes.length).map((i) => i + 1)) {
      const parts = range(Math.ceil(bytes.length / size)).map((i) =>
        bytes.slice(i * size, (i + 1) * size),
      )
      const all: string[] = []
      for await (const data of readEvents(streamOf(parts))) all.push(data)
      expect(all).toEqual(['ä1', '[DONE]'])
    }
  })

  it('a row without tokens, and layers without a router', () => {
    expect(readRouting('', '', 4)).toBeUndefined()
    const ids = Buffer.from(new Uint16Array([0xffff, 0xffff, 1, 3]).buffer).toString('base64')
    const weights = Buffer.from(new Float32Array([0, 0, 0.5, 0.25]).buffer).toString('base64')
    const pair = [
      { expert: 1, weight: 0.5 },
      { expert: 3, weight: 0.25 },
    ]
    expect(readRouting(ids, weights, 2)).toEqual([[], pair])
  })

  it('an answer has one piece a token, and its routing one later', async () => {
    const real = globalThis.fetch
    globalThis.fetch = (path, init) => real(`${url()}${String(path)}`, init)
    try {
      const texts: string[] = []
      const rows: unknown[] = []
      const { signal } = new AbortController()
      const own = { key: '', layers: 4, messages, signal, max_tokens: 6, temperature: 0 }
      for await (const { text, routing } of askAsPage(own)) {
        if (routing) rows.push(routing)
        if (text !== undefined) texts.push(text)
      }
      const { text } = await model().chat(messages, { maxNewTokens: 6, temperature: 0 })
      expect([texts.join(''), texts.length, rows.length]).toEqual([text, 6, 5])
    } finally {
      globalThis.fetch = real
    }
  })
})

const streamOf = (parts: Uint8Array<ArrayBuffer>[]) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (const part of parts) controller.enqueue(part)
      controller.close()
    },
  })

describe('the page', () => {
  it('is served with everything it names, and nothing from elsewhere', async () => {
    const html = await (await fetch(`${url()}/`)).text()
    const named = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, target]) => target!)
    expect(named.sort()).toEqual(['/page/app.js', '/page/style.css', 'data:,'])
    for (const name of readdirSync(`${root}/page`).filter((one) => /\.(js|css)$/.test(one))) {
      if (name.startsWith('routing.')) continue // of the report, which is one file
      const response = await fetch(`${url()}/page/${name}`)
      expect(await response.text()).toBe(readFileSync(`${root}/page/${name}`, 'utf8'))
      const policy = response.headers.get('content-security-policy')
      expect(policy).toMatch(/^default-src 'none'; script-src 'self'; /)
      expect(policy).not.toMatch(/unsafe|\*|https?:/)
    }
    expect((await fetch(`${url()}/page/tsconfig.json`)).status).toBe(404)
    expect((await fetch(`${url()}/page/../package.json`)).status).toBe(404)
  })
})
