// Reads a text as a whole and writes what belongs in its gaps (Switch Transformers, T5), and shows which tokens found
// no place at their expert. Without a folder: a small model of random weights, on ids.
//   node encoder_decoder.mjs [MODEL [TEXT]]
import { loadModel, randomModel } from 'moe-native'

const config = {
  ...{ model_type: 'switch_transformers', vocab_size: 200, d_model: 64, d_kv: 16, d_ff: 128 },
  ...{ num_layers: 4, num_heads: 4, num_experts: 8, expert_capacity: 4, decoder_start_token_id: 0 },
  ...{ num_sparse_encoder_layers: 2, num_sparse_decoder_layers: 2 },
}
const [, , dir, asked] = process.argv
const text =
  asked ?? 'A <extra_id_0> walks into a bar and orders a <extra_id_1> with a pinch of salt.'

/** @type {import('moe-native').Seq2SeqModel} */
const model = dir ? await loadModel(dir) : await randomModel(config)
const input = model.tokenizer ? text : Array.from({ length: 24 }, (_, i) => (37 * i) % 200)

const { routing } = await model.encode(input, { routing: true })
for (const [l, layer] of routing?.entries() ?? []) {
  if (!layer) continue // a dense one
  const dropped = layer.dropped.reduce((sum, one) => sum + one, 0)
  console.log(`encoder layer ${l}: ${dropped} of ${layer.dropped.length} tokens dropped`)
}
const { text: answer, ids } = await model.generate(input, { maxNewTokens: 20 })
console.log(model.tokenizer ? answer : ids.join(' '))
await model.dispose()
