// Which experts every token of a text goes to, layer by layer, with their weights.
//   node routing_trace.mjs [MODEL] [TEXT]
import { demoModel, loadModel } from 'moe-native'

const [dir = demoModel, text = 'To be, or not'] = process.argv.slice(2)
const model = await loadModel(dir)
const { experts, topK } = model.config
const ids = model.tokenizer?.encode(text) ?? [1, 2, 3]
const { routing } = await model.forward(ids, { logits: 'none', routing: true })

/** @param {number} e */
const kindOf = (e) => (experts[e] === 'ffn' ? `ffn ${e}` : experts[e])
for (const [t, id] of ids.entries()) {
  console.log(JSON.stringify(model.tokenizer?.decode([id]) ?? String(id)))
  for (const [l, layer] of (routing ?? []).entries()) {
    if (!layer) continue // no router
    const { expertIds, weights } = layer
    const chosen = Array.from(expertIds.subarray(t * topK, (t + 1) * topK), (e, k) => {
      const weight = weights[t * topK + k]
      return `${kindOf(e)} ${(100 * weight).toFixed(0)} %`.padEnd(18)
    })
    console.log(`  layer ${l}: ${chosen.join('')}`)
  }
}
await model.dispose()
