// switch-base-8 with random weights on the CPU: the encoder's share of the matrix rate, and milliseconds a written token.
//   node bench/encoder_decoder.mjs [--tokens 512] [--dtype bf16|f32] [--weights bf16|f32] [--rounds 10] [--json]
// Encoder and probe take turns, and the fastest of each counts: other programs only ever take time away.
// Operations: products of tokens that experts served, scores and values of all pairs; norms and softmax count nothing.
import { parseArgs } from 'node:util'
import { native } from '../build/modules/native.js'
import { randomModel } from '../dist/index.js'

const { values } = parseArgs({
  options: {
    tokens: { type: 'string', default: '512' },
    dtype: { type: 'string', default: 'bf16' },
    weights: { type: 'string', default: 'bf16' },
    rounds: { type: 'string', default: '10' },
    json: { type: 'boolean' },
  },
})
const config = {
  ...{ model_type: 'switch_transformers', vocab_size: 32128, d_model: 768, d_kv: 64, d_ff: 3072 },
  ...{ num_layers: 12, num_decoder_layers: 12, num_heads: 12, num_experts: 8, expert_capacity: 64 },
  ...{ num_sparse_encoder_layers: 6, num_sparse_decoder_layers: 6, tie_word_embeddings: false },
  ...{ decoder_start_token_id: 0, eos_token_id: 1 },
}
const { dtype, weights } = values
const model = await randomModel(config, { device: 'cpu', dtype, weights, maxTokens: 2048 })
const { threads } = native().cpu()
const S = Number(values.tokens)
const ids = Array.from({ length: S }, (_, i) => 2 + ((i * 7919) % 32000))

async function probe(kind) {
  const { work, seconds } = await native().probe(kind, threads)
  return work / seconds
}
const kind =
  dtype === 'bf16' && weights === 'bf16' && (await probe('bf16_dot')) > 0 ? 'bf16_dot' : 'f32'

const { d_model: H, d_kv, num_heads, d_ff: F, num_experts: E } = config
const W = d_kv * num_heads
const { routing } = await model.encode(ids, { routing: true })
const flops = routing.reduce((sum, layer) => {
  const served = layer ? layer.dropped.reduce((n, one) => n - one, S) : S
  return sum + 8 * S * H * W + 4 * S * S * W + 4 * served * H * F + (layer ? 2 * S * H * E : 0)
}, 0)

let [seconds, rate] = [Number.POSITIVE_INFINITY, 0]
for (let round = 0; round < Number(values.rounds); round++) {
  rate = Math.max(rate, await probe(kind))
  const begun = performance.now()
  await model.encode(ids)
  seconds = Math.min(seconds, (performance.now() - begun) / 1000)
}
const written = await model.generate(ids, { maxNewTokens: 32, stopIds: [] })
const result = {
  ...{ tokens: S, dtype, weights, threads, isa: model.device.isa, cpu: model.device.name },
  ...{ encoderSeconds: seconds, gflops: flops / 1e9, matrixGflops: rate / 1e9, rate: kind },
  shareOfMatrixRate: flops / seconds / rate,
  msPerWrittenToken: written.timings.generationMs / 31,
}
if (values.json) console.log(JSON.stringify(result, null, 2))
else
  console.log(
    `encoder ${S} tokens: ${(1000 * seconds).toFixed(1)} ms, ${result.shareOfMatrixRate.toFixed(2)} of ${(rate / 1e9).toFixed(0)} Gflop/s (${kind}); ` +
      `${result.msPerWrittenToken.toFixed(1)} ms a written token`,
  )
await model.dispose()
