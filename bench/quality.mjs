// What quantised weights cost: loss and choices of the demo models on held-out tokens, against their files' bf16.
//   node bench/quality.mjs [--weights int8,int4] [--json]
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { loadModel } from '../dist/index.js'

const { values } = parseArgs({
  options: { weights: { type: 'string', default: 'int8,int4' }, json: { type: 'boolean' } },
})
const window = 256
const root = new URL('..', import.meta.url).pathname

function logSoftmax(row) {
  const top = row.reduce((a, b) => Math.max(a, b))
  const sum = row.reduce((total, z) => total + Math.exp(z - top), 0)
  return Float64Array.from(row, (z) => z - top - Math.log(sum))
}
const best = (row) => row.reduce((top, z, i) => (z > row[top] ? i : top), 0)

/** Logarithms of the probabilities at each place of each text. */
async function choices(name, texts, weights) {
  const model = await loadModel(`${root}/demo/${name}-tiny`, {
    device: 'cpu',
    weights,
    maxTokens: 4096,
  })
  const V = model.config.vocabSize
  const all = await model.forward(texts, { logits: 'all' })
  await model.dispose()
  return all.map(({ logits }) =>
    Array.from({ length: window }, (_, t) => logSoftmax(logits.subarray(t * V, (t + 1) * V))),
  )
}

/** Mean cross entropy of each next token. */
const lossOf = (texts, rows) =>
  rows.reduce(
    (sum, text, i) => sum + text.slice(0, -1).reduce((s, row, t) => s - row[texts[i][t + 1]], 0),
    0,
  ) /
  (rows.length * (window - 1))

const results = []
for (const name of ['mixtral', 'moepp', 'yuan']) {
  const ids = JSON.parse(
    readFileSync(`${root}/test/fixtures/models/${name}-tiny/val_ids.json`, 'utf8'),
  )
  const count = Math.min(16, Math.floor(ids.length / window))
  const texts = Array.from({ length: count }, (_, i) => ids.slice(i * window, (i + 1) * window))
  const want = await choices(name, texts, 'auto')
  for (const weights of values.weights.split(',')) {
    const got = await choices(name, texts, weights)
    const pairs = want.flatMap((text, i) => text.map((row, t) => [row, got[i][t]]))
    const divergence = ([p, q]) => p.reduce((sum, l, v) => sum + Math.exp(l) * (l - q[v]), 0)
    results.push({
      model: `${name}-tiny`,
      weights,
      tokens: pairs.length,
      loss: lossOf(texts, got) / lossOf(texts, want) - 1,
      divergence: pairs.reduce((sum, pair) => sum + divergence(pair), 0) / pairs.length,
      same: pairs.filter(([p, q]) => best(p) === best(q)).length / pairs.length,
    })
  }
}
if (values.json) console.log(JSON.stringify(results))
else
  for (const { model, weights, tokens, loss, divergence, same } of results)
    console.log(
      `${model} ${weights}, ${tokens} tokens: loss ${loss < 0 ? '' : '+'}${(100 * loss).toFixed(2)} %, ` +
        `divergence ${(1000 * divergence).toFixed(1)} thousandths, same first choice ${(100 * same).toFixed(1)} %`,
    )
