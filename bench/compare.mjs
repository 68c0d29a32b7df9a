// Two builds of this package side by side: prefill and decode of small random models, one after the other in turns.
//   node bench/compare.mjs BASE/dist NEW/dist [--rounds 15]
// Prints the median of each and of the ratio of every round, with the ratio's quartiles. CPU, bf16.
import { fork } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const heads = { vocab_size: 8000, num_attention_heads: 16 }
const configs = {
  mixtral: {
    ...{ ...heads, model_type: 'mixtral', hidden_size: 1024, num_hidden_layers: 4 },
    ...{ num_key_value_heads: 4, intermediate_size: 1792, num_local_experts: 8 },
  },
  moepp: {
    ...{ ...heads, model_type: 'MoE++', hidden_size: 1536, num_hidden_layers: 2 },
    ...{ intermediate_size: 2048, num_experts: [16], moe_use_logits_norm: true },
    ...{ moe_2layer_gate: false, moe_feature_no_mul_topk: true },
  },
  yuan: {
    ...{ ...heads, model_type: 'yuan', hidden_size: 1024, num_hidden_layers: 3 },
    attention_projection_size: 2048,
    moe_config: {
      moe_num_experts: 16,
      moe_top_k: 2,
      ffn_hidden_size: 2048,
      gated_linear_unit: true,
    },
  },
}
const ids = (n, seed) => Array.from({ length: n }, (_, i) => ((i * 7919 + seed * 31) % 7000) + 10)
let texts = 0 // no text twice: its beginning would be cached
const decode = (model, n, maxNewTokens) =>
  Promise.all(
    Array.from({ length: n }, () =>
      model.generate(ids(64, texts++), { maxNewTokens, stopIds: [], seed: 1 }),
    ),
  )
const jobs = {
  'prefill 512': (model) => model.forward(ids(512, 1)),
  'decode, batch 1': (model) => decode(model, 1, 48),
  'decode, batch 8': (model) => decode(model, 8, 24),
}

/** One build, in a process of its own: answers { model, job } with milliseconds. */
async function serve(dist) {
  const { randomModel } = await import(path.resolve(dist, 'index.js'))
  const options = { device: 'cpu', dtype: 'bf16', maxTokens: 4096 }
  const models = {}
  for (const [name, config] of Object.entries(configs))
    models[name] = await randomModel(config, options)
  process.on('message', async ({ model, job }) => {
    const started = performance.now()
    await jobs[job](models[model])
    process.send(performance.now() - started)
  })
  process.send('ready')
}

const answer = (child) => new Promise((resolve) => child.once('message', resolve))
const ask = (child, message) => {
  child.send(message)
  return answer(child)
}
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.floor(q * (list.length - 1))]

async function compare(dists, rounds) {
  const children = dists.map((dist) => fork(fileURLToPath(import.meta.url), ['serve', dist]))
  await Promise.all(children.map(answer))
  for (const model of Object.keys(configs))
    for (const job of Object.keys(jobs)) {
      const times = [[], []]
      for (const child of children) await ask(child, { model, job }) // warm
      for (let round = 0; round < rounds; round++)
        for (const i of round % 2 ? [1, 0] : [0, 1])
          times[i].push(await ask(children[i], { model, job }))
      const ratios = times[0].map((base, round) => times[1][round] / base)
      const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(ratios, q).toFixed(3))
      const [base, now] = times.map((list) => quantile(list, 0.5).toFixed(1))
      console.log(`${model}, ${job}: ${base} ms, ${now} ms, ratio ${middle} [${low}..${high}]`)
    }
  for (const child of children) child.kill()
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '15' } },
})
if (positionals[0] === 'serve') await serve(positionals[1])
else if (positionals.length === 2) await compare(positionals, Number(values.rounds))
else console.error('node bench/compare.mjs BASE/dist NEW/dist [--rounds 15]')
