import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Exposition, Histogram } from '../../lib/server/prometheus.ts'
import { root } from '../support/golden.ts'
import { events, post, useServer } from './support.ts'

const { url, model } = useServer(`${root}/demo/moepp-tiny`, {}, { maxWaiting: 8 })
const chat = {
  messages: [{ role: 'user', content: 'Good morrow.' }],
  ...{ max_tokens: 10, ignore_eos: true },
}

/** Every sample of a scrape by its name and labels. */
async function scrape(): Promise<Map<string, number>> {
  const text = await (await fetch(`${url()}/metrics`)).text()
  const types = new Map<string, string>()
  const samples = new Map<string, number>()
  for (const line of text.trimEnd().split('\n')) {
    const [, name, type] = /^# TYPE (\w+) (\w+)$/.exec(line) ?? []
    if (name) {
      expect(types.has(name)).toBe(false) // a family stands in one place
      types.set(name, type!)
    }
    if (line.startsWith('#')) continue
    const [, family, labels, value] = /^(\w+)\{model_name="demo"(.*)\} (\S+)$/.exec(line)!
    const key = labels === '' ? family! : `${family}{${labels!.slice(1)}}`
    expect([...types.keys()].some((one) => family!.startsWith(one))).toBe(true)
    expect(samples.has(key)).toBe(false)
    samples.set(key, Number(value))
  }
  return samples
}

describe('metrics', () => {
  it('count texts, tokens, gaps and refusals', async () => {
    const before = await scrape()
    await post(`${url()}/v1/chat/completions`, { ...chat, n: 2 })
    await events(`${url()}/v1/chat/completions`, chat)
    await post(`${url()}/v1/chat/completions`, { ...chat, max_tokens: 0 })
    const after = await scrape()
    const grown = (key: string) => (after.get(key) ?? 0) - (before.get(key) ?? 0)
    expect(grown('moe_time_to_first_token_seconds_count')).toBe(3)
    expect(grown('moe_inter_token_latency_seconds_count')).toBe(27)
    expect(grown('moe_request_generation_tokens_sum')).toBe(30)
    expect(grown('moe_request_generation_tokens_bucket{le="8"}')).toBe(0)
    expect(grown('moe_request_generation_tokens_bucket{le="16"}')).toBe(3)
    expect(grown('moe_request_queue_time_seconds_count')).toBe(3)
    expect(grown('moe_request_success_total{finished_reason="length"}')).toBe(3)
    expect(grown('moe_requests_rejected_total{reason="invalid"}')).toBe(1)
    const route = '{route="/v1/chat/completions",method="POST",status="200"}'
    expect(grown(`moe_http_requests_total${route}`)).toBe(2)
    const steps = ['prefill', 'decode', 'mixed'].map((kind) =>
      grown(`moe_steps_total{kind="${kind}"}`),
    )
    expect(steps[0]).toBeGreaterThan(0)
    expect(steps[1]).toBeGreaterThan(0)
    expect(grown('moe_step_seconds_total{kind="decode"}')).toBeGreaterThan(0)
    expect(after.get('moe_last_step_timestamp_seconds')).toBeGreaterThan(1.7e9)
    expect(after.get('moe_weights_bytes')).toBe(
      model().weights.reduce((n, { bytes }) => n + bytes, 0),
    )
    for (const part of ['queue', 'prefill', 'decode'])
      expect(grown(`moe_request_${part}_time_seconds_sum`)).toBeGreaterThanOrEqual(0)
  })

  it('count experts as the library does, and slots that cost nothing', async () => {
    const { layers } = await model().routingStats()
    const all = await scrape()
    const slots = new Map<string, number>()
    for (const [l, layer] of layers.entries())
      for (const [e, kind] of layer!.kinds.entries()) {
        const n = layer!.tokensPerExpert[e]!
        expect(all.get(`moe_expert_tokens_total{layer="${l}",expert="${e}",kind="${kind}"}`)).toBe(
          n,
        )
        slots.set(kind, (slots.get(kind) ?? 0) + n)
      }
    for (const [kind, n] of slots) expect(all.get(`moe_expert_slots_total{kind="${kind}"}`)).toBe(n)
    expect(slots.get('ffn')).toBeGreaterThan(0)
    expect(all.get('moe_expert_load_max_over_mean{layer="0"}')).toBeGreaterThanOrEqual(1)
  })

  it('a histogram counts up to each bound, and labels are escaped', () => {
    const histogram = new Histogram([1, 2])
    for (const value of [0.5, 1, 2, 3]) histogram.observe(value)
    expect(histogram.lines('x', { a: 'b"\\\n' })).toEqual([
      'x_bucket{a="b\\"\\\\\\n",le="1"} 2',
      'x_bucket{a="b\\"\\\\\\n",le="2"} 3',
      'x_bucket{a="b\\"\\\\\\n",le="+Inf"} 4',
      'x_sum{a="b\\"\\\\\\n"} 6.5',
      'x_count{a="b\\"\\\\\\n"} 4',
    ])
    const out = new Exposition({ of: 'm' }, new Map([['all', 'other:all']]))
    out.samples('counter', 'empty', 'Nothing.', [])
    expect(out.text).toBe('\n')
    out.samples('counter', 'all', 'Some.', [[{ a: 1 }, 2]])
    out.value('gauge', 'one', 'One.', 3)
    expect(out.text.split('\n').filter((line) => !line.startsWith('#'))).toEqual([
      ...['all{of="m",a="1"} 2', 'other:all{of="m",a="1"} 2', 'one{of="m"} 3'],
      '',
    ])
  })
})

describe('metrics under vLLM’s names', () => {
  const other = useServer(`${root}/demo/moepp-tiny`, { vllmMetrics: true })

  it('are those of the same meaning', async () => {
    await post(`${other.url()}/v1/chat/completions`, chat)
    const text = await (await fetch(`${other.url()}/metrics`)).text()
    const families = [...text.matchAll(/^# TYPE vllm:(\w+) (\w+)$/gm)]
    expect(families.length).toBe(17)
    for (const [, name, type] of families) {
      expect(text).toContain(`\n# TYPE moe_${name} ${type}\n`)
      const [own, theirs] = ['moe_', 'vllm:'].map((prefix) =>
        text.split('\n').filter((line) => line.startsWith(prefix + name)),
      )
      expect(theirs).toEqual(own!.map((line) => line.replace(/^moe_/, 'vllm:')))
    }
  })
})

describe('what the server says of itself', () => {
  it('its version', async () => {
    const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'))
    expect(await (await fetch(`${url()}/version`)).json()).toEqual({ version })
  })

  it('every route of the document is there, and every field of requests is known', async () => {
    const { paths, openapi } = (await (await fetch(`${url()}/openapi.json`)).json()) as any
    expect(openapi).toBe('3.1.0')
    const source = readFileSync(`${root}/lib/server/serve.ts`, 'utf8')
    const named = [...source.matchAll(/'(?:GET|POST) (\/[^']*)'/g)].map(([, path]) => path!)
    expect(Object.keys(paths).sort()).toEqual(
      [...new Set([...named, '/', '/v1/models/{id}'])].sort(),
    )
    for (const [path, methods] of Object.entries<any>(paths)) {
      if (methods.get) {
        const { status } = await fetch(url() + path.replace('{id}', 'demo'))
        expect([path, status]).toEqual([path, 200])
      }
      if (!methods.post) continue
      const { required = [], properties } =
        methods.post.requestBody.content['application/json'].schema
      const { json } = await post(url() + path, {})
      if (required.length > 0) expect(json.error.param).toBe(required[0])
      // A value of no type is refused by name where a field is read.
      for (const name of ['stream', 'n', 'seed', 'routing', 'temperature'])
        if (properties[name]) {
          const bad = await post(url() + path, { ...chat, prompt: 'a', [name]: 'x' })
          expect([path, bad.json.error?.param]).toEqual([path, name])
        }
    }
  })
})
