// The server under load, by the protocol of `vllm bench serve`: seeded random lengths, closed loop, streams over
// loopback; beside it the same work in process, a shared beginning, and writers while long prompts come.
//   node bench/serve.mjs [--model DIR | --random] [--clients 1,8,64] [--requests 4] [--json]
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadModel, randomModel } from '../dist/index.js'
import { serve } from '../dist/server/index.js'

const { values } = parseArgs({
  options: {
    model: {
      type: 'string',
      default: fileURLToPath(new URL('../demo/moepp-tiny', import.meta.url)),
    },
    clients: { type: 'string', default: '1,8,64' },
    requests: { type: 'string', default: '4' },
    device: { type: 'string', default: 'cpu' },
    random: { type: 'boolean' },
    json: { type: 'boolean' },
  },
})
const requests = Number(values.requests)
// 0.45 billion parameters.
const config = {
  ...{ model_type: 'mixtral', vocab_size: 16384, hidden_size: 768, num_hidden_layers: 8 },
  ...{ num_attention_heads: 12, num_key_value_heads: 4, intermediate_size: 1408 },
  ...{ num_local_experts: 16, num_experts_per_tok: 2 },
}
const options = { device: values.device, maxTokens: 32768, ...(values.random && { dtype: 'bf16' }) }
const model = values.random
  ? await randomModel(config, options)
  : await loadModel(values.model, options)
const server = await serve(model, { port: 0 })
const { vocabSize } = model.config

let seed = 0
/** Ids that no prompt before has had. */
const prompt = (n, s = ++seed) =>
  Array.from({ length: n }, (_, i) => 10 + ((i * 7919 + s * 104729 + i * s) % (vocabSize - 20)))
const lengths = (i) => ({ input: 32 + ((i * 97) % 225), output: 16 + ((i * 61) % 113) })

async function overHttp(ids, max_tokens, onToken) {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ prompt: ids, max_tokens, ignore_eos: true, temperature: 0, stream: true },
      return_token_ids: true,
    }),
  })
  const out = []
  let rest = ''
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + part).split('\n\n')
    rest = events.pop()
    for (const event of events) {
      const id = /"token_ids":\[(\d+)\]/.exec(event)?.[1]
      if (id === undefined) continue
      out.push(Number(id))
      onToken()
    }
  }
  return out
}

async function inProcess(ids, maxNewTokens, onToken) {
  const out = []
  for await (const { id } of model.generate(ids, { maxNewTokens, stopIds: [], temperature: 0 })) {
    out.push(id)
    onToken()
  }
  return out
}

const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.floor(q * (list.length - 1))]
const summary = (list) => ({ median: quantile(list, 0.5), p99: quantile(list, 0.99) })

/** Every client sends one request after the other. */
async function load(run, clients, from) {
  const ttft = []
  const itl = []
  const texts = []
  const started = performance.now()
  let tokens = 0
  await Promise.all(
    Array.from({ length: clients }, async (_, c) => {
      for (let r = 0; r < requests; r++) {
        const number = c * requests + r
        const { input, output } = lengths(number)
        let last = performance.now()
        let first = true
        const ids = await run(prompt(input, from + number), output, () => {
          const now = performance.now()
          ;(first ? ttft : itl).push(now - last)
          first = false
          last = now
        })
        tokens += ids.length
        texts[number] = ids.join()
      }
    }),
  )
  const tokensPerSecond = (1000 * tokens) / (performance.now() - started)
  return { tokensPerSecond, ttft: summary(ttft), itl: summary(itl), texts }
}

async function firstToken(ids) {
  const started = performance.now()
  let first
  await overHttp(ids, 2, () => (first ??= performance.now() - started))
  return first
}

const result = { clients: {}, prefix: {}, writers: {} }
await load(inProcess, 2, 1e6)
await load(overHttp, 2, 2e6)
for (const clients of values.clients.split(',').map(Number)) {
  // In turns, since other work on the machine changes from minute to minute.
  const all = { process: [], http: [] }
  for (let round = 0; round < 3; round++) {
    const from = 1e4 * (clients + 100 * round)
    const a = await load(inProcess, clients, from)
    const b = await load(overHttp, clients, from + 5e3)
    all.process.push(a)
    all.http.push(b)
  }
  const best = (list) => list.reduce((a, b) => (a.tokensPerSecond > b.tokensPerSecond ? a : b))
  const { texts: _, ...http } = best(all.http)
  result.clients[clients] = { inProcess: best(all.process).tokensPerSecond, http }
}
{
  const shared = prompt(1024)
  const cold = await firstToken([...shared, ...prompt(40)])
  const warm = []
  for (let i = 0; i < 5; i++) warm.push(await firstToken([...shared, ...prompt(40)]))
  result.prefix = { coldMs: cold, warmMs: quantile(warm, 0.5) }
}
{
  const started = performance.now()
  await model.forward(prompt(2048), { logits: 'none' })
  const prefillMs = performance.now() - started
  const write = async () => {
    const gaps = []
    let last
    await inProcess(prompt(32), 600, () => {
      const now = performance.now()
      if (last !== undefined) gaps.push(now - last)
      last = now
    })
    return gaps
  }
  const alone = summary((await Promise.all([write(), write(), write(), write()])).flat())
  let done = false
  const prompts = (async () => {
    while (!done) {
      await new Promise((resolve) => setTimeout(resolve, 2 * prefillMs)) // half the rate
      if (!done) await model.generate(prompt(2048), { maxNewTokens: 1, stopIds: [] })
    }
  })()
  const among = summary((await Promise.all([write(), write(), write(), write()])).flat())
  done = true
  await prompts
  result.writers = { prefillMs, alone, amongPrompts: among }
}
console.log(
  values.json
    ? JSON.stringify(result)
    : JSON.stringify(result, (_, v) => (typeof v === 'number' ? Number(v.toPrecision(4)) : v), 2),
)
await server.close()
await model.dispose()
