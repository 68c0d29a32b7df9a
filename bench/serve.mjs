// The server under load, by the protocol of `vllm bench serve`: seeded lengths, closed loop, streams over loopback, beside the
// same work in process; what a batch gains, mixed lengths against equal ones, a shared beginning, and writers while long
// prompts come. Rounds alternate between what is compared, and figures are medians of rounds.
//   node bench/serve.mjs [--model DIR | --random] [--clients 1,8,64] [--requests 2] [--rounds 3] [--json]
//     [--parts clients,alone,batch,lengths,prefix,writers]
// `--random`: 0.45 billion random parameters of Mixtral's architecture.
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
    requests: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    parts: { type: 'string', default: 'clients,alone,batch,lengths,prefix,writers' },
    device: { type: 'string', default: 'cpu' },
    random: { type: 'boolean' },
    json: { type: 'boolean' },
  },
})
const requests = Number(values.requests)
const rounds = Number(values.rounds)
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

/** Ids of a prompt; another `seed`, other ids from the first on. */
const prompt = (n, seed) =>
  Array.from(
    { length: n },
    (_, i) => 10 + ((i * 7919 + seed * 104729 + i * seed) % (vocabSize - 20)),
  )
let seeds = 1e6
const fresh = (n) => prompt(n, ++seeds)
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.floor(q * (list.length - 1))]
const median = (list) => quantile(list, 0.5)
const summary = (list) => ({ median: median(list), p99: quantile(list, 0.99) })

async function overHttp(ids, max_tokens, salt, onToken) {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ prompt: ids, max_tokens, ignore_eos: true, temperature: 0, stream: true },
      ...{ return_token_ids: true, cache_salt: salt },
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

async function inProcess(ids, maxNewTokens, cacheSalt, onToken) {
  const out = []
  const asked = { maxNewTokens, stopIds: [], temperature: 0, cacheSalt }
  for await (const { id } of model.generate(ids, asked)) {
    out.push(id)
    onToken()
  }
  return out
}

const mixed = (i) => ({ input: 32 + ((i * 97) % 225), output: 16 + ((i * 61) % 113) })
const meanOf = (n, name) =>
  Math.round(Array.from({ length: n }, (_, i) => mixed(i)[name]).reduce((a, b) => a + b) / n)

let runs = 0
/** Every client sends one request after the other; each run reads its prompts anew. */
async function load(run, clients, lengths) {
  const salt = `run ${++runs}`
  const ttft = []
  const itl = []
  const texts = []
  const started = performance.now()
  let tokens = 0
  const client = async (_, c) => {
    for (let r = 0; r < requests; r++) {
      const number = c * requests + r
      const { input, output } = lengths(number)
      let last = performance.now()
      let first = true
      const ids = await run(prompt(input, number), output, salt, () => {
        const now = performance.now()
        ;(first ? ttft : itl).push(now - last)
        first = false
        last = now
      })
      tokens += ids.length
      texts[number] = ids.join()
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  const tokensPerSecond = (1000 * tokens) / (performance.now() - started)
  return { tokensPerSecond, ttft: summary(ttft), itl: summary(itl), texts }
}

/** Milliseconds between tokens of so many texts. */
async function gaps(texts, tokens) {
  const all = []
  const write = async () => {
    let last
    await inProcess(fresh(32), tokens, '', () => {
      const now = performance.now()
      if (last !== undefined) all.push(now - last)
      last = now
    })
  }
  await Promise.all(Array.from({ length: texts }, write))
  return all
}

async function firstToken(ids) {
  const started = performance.now()
  let first
  await overHttp(ids, 2, '', () => (first ??= performance.now() - started))
  return first
}

/** Most that a batch of the random model can gain where reading weights is the limit: its tokens choose many experts. */
function gainOf(batch) {
  const { hidden_size: h, num_local_experts: E, num_experts_per_tok: k } = config
  const expert = 3 * h * config.intermediate_size
  const keys = (2 * h * h * config.num_key_value_heads) / config.num_attention_heads
  const dense = 2 * h * h + keys + (h * config.vocab_size) / config.num_hidden_layers
  const read = E * (1 - (1 - k / E) ** batch)
  return (batch * (dense + k * expert)) / (dense + read * expert)
}

const result = { rounds, requests }
const parts = values.parts.split(',')
await load(inProcess, 2, mixed)
await load(overHttp, 2, mixed)

for (const clients of parts.includes('clients') ? values.clients.split(',').map(Number) : []) {
  const all = []
  for (let round = 0; round < rounds; round++) {
    const process = await load(inProcess, clients, mixed)
    const http = await load(overHttp, clients, mixed)
    if (String(process.texts) !== String(http.texts)) throw new Error('texts differ')
    all.push({ process, http })
  }
  const of = (read) => median(all.map(read))
  result.clients ??= {}
  result.clients[clients] = {
    inProcess: of(({ process }) => process.tokensPerSecond),
    http: of(({ http }) => http.tokensPerSecond),
    httpOverInProcess: of(({ process, http }) => http.tokensPerSecond / process.tokensPerSecond),
    ttft: { median: of(({ http }) => http.ttft.median), p99: of(({ http }) => http.ttft.p99) },
    itl: { median: of(({ http }) => http.itl.median), p99: of(({ http }) => http.itl.p99) },
  }
}
if (parts.includes('alone')) {
  // A text is the same alone.
  const { texts } = await load(inProcess, 16, mixed)
  for (const number of [0, 7, 15]) {
    const { input, output } = mixed(number)
    const alone = await inProcess(prompt(input, number), output, 'alone', () => {})
    if (alone.join() !== texts[number]) throw new Error('a text is another one among others')
  }
}
if (parts.includes('batch')) {
  const all = []
  for (let round = 0; round < rounds; round++) {
    const one = median(await gaps(1, 96))
    all.push({ one, gain: (8 * one) / median(await gaps(8, 64)) })
  }
  const gain = median(all.map((one) => one.gain))
  result.batch = { msAlone: median(all.map(({ one }) => one)), gain }
  if (values.random) Object.assign(result.batch, { most: gainOf(8), share: gain / gainOf(8) })
}
if (parts.includes('lengths')) {
  const n = 64 * requests
  const equal = { input: meanOf(n, 'input'), output: meanOf(n, 'output') }
  const all = []
  for (let round = 0; round < rounds; round++) {
    const same = (await load(inProcess, 64, () => equal)).tokensPerSecond
    const other = (await load(inProcess, 64, mixed)).tokensPerSecond
    all.push({ same, other, ratio: other / same })
  }
  const of = (name) => median(all.map((one) => one[name]))
  result.lengths = { equal: of('same'), mixed: of('other'), ratio: of('ratio') }
}
if (parts.includes('prefix')) {
  const all = []
  for (let round = 0; round < rounds; round++) {
    const shared = fresh(1024)
    const coldMs = await firstToken([...shared, ...fresh(40)])
    const warm = []
    for (let i = 0; i < 5; i++) warm.push(await firstToken([...shared, ...fresh(40)]))
    all.push({ coldMs, warmMs: median(warm), ratio: coldMs / median(warm) })
  }
  const of = (name) => median(all.map((one) => one[name]))
  result.prefix = { coldMs: of('coldMs'), warmMs: of('warmMs'), ratio: of('ratio') }
}
if (parts.includes('writers')) {
  const all = []
  for (let round = 0; round < rounds; round++) {
    const started = performance.now()
    await model.forward(fresh(2048), { logits: 'none' })
    const prefillMs = performance.now() - started
    const alone = summary(await gaps(4, 200))
    const prompts = []
    const ttft = []
    // Half the measured rate, whether or not the ones before are read.
    const send = () => {
      const came = performance.now()
      const reading = inProcess(fresh(2048), 1, '', () => ttft.push(performance.now() - came))
      prompts.push(reading)
    }
    const timer = setInterval(send, 2 * prefillMs)
    const writing = gaps(4, 400)
    send()
    const among = summary(await writing)
    clearInterval(timer)
    await Promise.all(prompts)
    all.push({ prefillMs, alone, among, promptMs: median(ttft), ratio: among.p99 / among.median })
  }
  const of = (read) => median(all.map(read))
  result.writers = {
    prefillMs: of(({ prefillMs }) => prefillMs),
    promptMs: of(({ promptMs }) => promptMs),
    alone: { median: of(({ alone }) => alone.median), p99: of(({ alone }) => alone.p99) },
    among: { median: of(({ among }) => among.median), p99: of(({ among }) => among.p99) },
    ratio: of(({ ratio }) => ratio),
  }
}
console.log(
  values.json
    ? JSON.stringify(result)
    : JSON.stringify(result, (_, v) => (typeof v === 'number' ? Number(v.toPrecision(4)) : v), 2),
)
await server.close()
await model.dispose()
