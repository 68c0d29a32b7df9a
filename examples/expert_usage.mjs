// How a text spreads over the experts: one bar an expert and layer, and how much work zero-computation experts save.
//   node expert_usage.mjs [MODEL]
import { demoModel, loadModel } from 'moe-native'

const model = await loadModel(process.argv[2] ?? demoModel)
const prompt = 'ROMEO:\nBut, soft! what light through yonder window breaks?'
await model.generate(prompt, { maxNewTokens: 64 })
const { layers } = await model.routingStats()

let ffnSlots = 0
let slots = 0
for (const [l, layer] of layers.entries()) {
  if (!layer) continue // no router
  const { kinds, topK, tokens, tokensPerExpert: counts } = layer
  // Jain's index: 1 when all experts have the same load, 1/E when one has it all.
  const squares = counts.reduce((sum, n) => sum + n * n, 0)
  const balance = (topK * tokens) ** 2 / (kinds.length * squares)
  console.log(`layer ${l}, balance ${balance.toFixed(2)}`)
  for (const [e, count] of counts.entries()) {
    const share = count / (topK * tokens)
    console.log(
      `  ${String(e).padStart(3)} ${kinds[e].padEnd(9)}${'█'.repeat(Math.round(80 * share))} ${count}`,
    )
    if (kinds[e] === 'ffn') ffnSlots += count
    slots += count
  }
}
console.log(
  `${((100 * ffnSlots) / slots).toFixed(1)} % of the chosen slots are FFN experts: the rest costs no matrix product`,
)
await model.dispose()
