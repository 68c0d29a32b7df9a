// npm start: every bundled demo checkpoint continues a line of Shakespeare on this machine's CPU.
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadModel } from '../dist/index.js'

const demo = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../demo')
const prompt = 'ROMEO:\nWhat say you to the night,'

for (const name of ['moepp-tiny', 'yuan-tiny', 'mixtral-tiny']) {
  const model = await loadModel(path.join(demo, name), { device: 'cpu' })
  const { total, activePerToken } = model.parameters
  console.log(
    `\n── ${name}: ${model.config.architecture}, ${(total / 1e6).toFixed(1)} M parameters, ` +
      `${(activePerToken / 1e6).toFixed(1)} M active per token`,
  )
  const generation = model.generate(prompt, {
    maxNewTokens: 80,
    temperature: 0.7,
    topP: 0.9,
    seed: 4,
  })
  process.stdout.write(prompt)
  for await (const { text } of generation) process.stdout.write(text)
  const { usage, timings } = await generation
  console.log(
    `\n── ${usage.completionTokens} tokens at ${timings.tokensPerSecond.toFixed(0)}/s ` +
      `on ${model.device.name} (${model.device.isa})`,
  )
  await model.dispose()
}
