// The table of memory in docs/models.md, from the configurations of bench/predict/models.json.
//   node bench/model_memory.mjs            write it
//   node bench/model_memory.mjs --check    fail where it is another
import { readFileSync, writeFileSync } from 'node:fs'
import { buildWithoutWeights } from '../build/modules/load.js'
import { countParameters } from '../build/modules/parameters.js'

const page = new URL('../docs/models.md', import.meta.url)
const models = JSON.parse(readFileSync(new URL('predict/models.json', import.meta.url), 'utf8'))
const gb = (bytes) => (bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)

const lines = Object.entries(models).map(([name, config]) => {
  const built = (weights) => buildWithoutWeights(config, { weights })
  const { graph, weights } = built('bf16')
  const { total, activePerToken } = countParameters(graph.layers, weights)
  const bytes = ['bf16', 'int8', 'int4'].map((format) => gb(built(format).weights.bytes))
  return `| ${name} | ${(total / 1e9).toFixed(1)} | ${(activePerToken / 1e9).toFixed(1)} | ${bytes.join(' | ')} |`
})
const table = [
  '| model | parameters, billions | of a token | bf16, GB | int8 | int4 |',
  '| --- | ---: | ---: | ---: | ---: | ---: |',
  ...lines,
].join('\n')
const text = readFileSync(page, 'utf8')
const whole = text.replace(/\| model \| parameters, billions[\s\S]*?\n\n/, `${table}\n\n`)
if (!process.argv.includes('--check')) writeFileSync(page, whole)
else if (whole !== text)
  throw new Error('docs/models.md has other figures: node bench/model_memory.mjs')
console.log(table)
