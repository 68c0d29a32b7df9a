// A model of Yuan 2.0-M32's shape with random weights, as many of its 24 layers as are asked for: bytes, and tokens a second
// against the bound of reading a token's weights once. What fits a machine is found by trying.
//   node bench/random_model.mjs [--layers 24] [--format int4] [--group 128] [--tokens 8] [--rounds 5] [--json]
// Texts and probes of the read bandwidth take turns, so that other jobs slow both.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { native } from '../build/modules/native.js'
import { randomModel } from '../dist/index.js'

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '24' },
    format: { type: 'string', default: 'int4' },
    group: { type: 'string', default: '128' },
    tokens: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean' },
  },
})
const config = {
  ...{ model_type: 'yuan', vocab_size: 135040, hidden_size: 2048, eod_token: 77185 },
  ...{ num_hidden_layers: Number(values.layers), num_attention_heads: 16 },
  ...{ attention_projection_size: 4096, max_position_embeddings: 4096 },
  moe_config: { moe_num_experts: 32, moe_top_k: 2, ffn_hidden_size: 8192 },
}
const { format } = values
const weights = format === 'int4' ? { format, group: Number(values.group) } : format
const started = performance.now()
const model = await randomModel(config, { device: 'cpu', weights, maxTokens: 2048 })
const seconds = (performance.now() - started) / 1000
const bytesOf = (wanted) =>
  model.weights.reduce((n, { part, bytes }) => n + (wanted(part) ? bytes : 0), 0)
// A token reads two of 32 experts, one row of the table, and all else.
const read =
  bytesOf((part) => part !== 'experts' && part !== 'embedding') +
  bytesOf((part) => part === 'experts') / 16
const token = (i) => 100 + ((i * 7919) % 130000)
await model.generate([token(1)], { maxNewTokens: 2, stopIds: [] })
const probe = async () => {
  const { work, seconds: reading } = await native().probe('read', native().cpu().threads)
  return work / reading
}
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const samples = []
for (let round = 0; round < Number(values.rounds); round++) {
  const before = await probe()
  const begin = performance.now()
  const { ids } = await model.generate([token(2 + round)], {
    maxNewTokens: Number(values.tokens),
    stopIds: [],
  })
  const tokensPerSecond = (1000 * ids.length) / (performance.now() - begin)
  const readBytesPerSecond = (before + (await probe())) / 2
  const share = (tokensPerSecond * read) / readBytesPerSecond
  samples.push({ tokensPerSecond, readBytesPerSecond, share })
}
const middle = (name) => median(samples.map((sample) => sample[name]))
const peak = 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
const report = {
  ...{ layers: config.num_hidden_layers, weights, seconds, peak, bytes: bytesOf(() => true) },
  ...{ tokenBytes: read, tokensPerSecond: middle('tokensPerSecond') },
  ...{ bound: middle('readBytesPerSecond') / read, shareOfBound: middle('share'), samples },
}
console.log(values.json ? JSON.stringify(report) : report)
await model.dispose()
