// How a text spreads over the experts: one bar an expert and layer, and how much work zero-computation experts save.
//   node expert_usage.mjs [MODEL]
import { demoModel, loadModel } from 'moe-native'

const model = await loadModel(process.argv[2] ?? demoModel)
const { experts } = model.config
const prompt = 'ROMEO:\nBut, soft! what light through yonder window breaks?'
const { routing } = await model.generate(prompt, { maxNewTokens: 64, routing: true })

let ffnSlots = 0
let slots = 0
for (const [l, layer] of (routing ?? []).entries()) {
  if (!layer) continue // no router
  const { expertIds } = layer
  const counts = experts.map(() => 0)
  for (const id of expertIds) counts[id]++
  // Jain's index: 1 when all experts have the same load, 1/E when one has it all.
  const squares = counts.reduce((sum, n) => sum + n * n, 0)
  const balance = expertIds.length ** 2 / (experts.length * squares)
  console.log(`layer ${l}, balance ${balance.toFixed(2)}`)
  for (const [e, count] of counts.entries()) {
    const share = count / expertIds.length
    console.log(
      `  ${String(e).padStart(3)} ${experts[e].padEnd(9)}${'█'.repeat(Math.round(80 * share))} ${count}`,
    )
    if (experts[e] === 'ffn') ffnSlots += count
    slots += count
  }
}
console.log(
  `${((100 * ffnSlots) / slots).toFixed(1)} % of the chosen slots are FFN experts: the rest costs no matrix product`,
)
await model.dispose()
