// What quantised weights cost: loss and choices of the demo models on held-out tokens, against their files' bf16.
//   node bench/quality.mjs [--out FILE] [--table FILE]
// --out writes the results as JSON, --table prints the table of the docs from such a file.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { evaluate, loadModel, quantizeCheckpoint } from '../dist/index.js'

const { values } = parseArgs({ options: { out: { type: 'string' }, table: { type: 'string' } } })
/** What `moe-native quantize` takes, and what a load makes itself. */
const formats = {
  int8: { format: 'int8' },
  int4: { format: 'int4' },
  'int4, group 128': { format: 'int4', group: 128 },
  'int4, attention too': { format: 'int4', attention: 'int4' },
  'int4, head too': { format: 'int4', head: 'int4' },
  fp8: undefined,
}
const [window, most] = [256, 4096]
const root = new URL('..', import.meta.url).pathname
const names = ['mixtral', 'moepp', 'yuan']

async function measure(name) {
  const held = `${root}/test/fixtures/models/${name}-tiny/val_ids.json`
  const ids = JSON.parse(readFileSync(held, 'utf8')).slice(0, most)
  const load = (dir, weights) => loadModel(dir, { device: 'cpu', maxTokens: window, weights })
  const dir = `${root}/demo/${name}-tiny`
  const plain = await load(dir)
  const results = []
  for (const [weights, options] of Object.entries(formats)) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-quality-'))
    try {
      if (options) await quantizeCheckpoint(dir, folder, options)
      const model = await (options ? load(folder) : load(dir, weights))
      const result = await evaluate(model, ids, { against: plain, window })
      results.push({ model: `${name}-tiny`, weights, ...result })
      await model.dispose()
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
  await plain.dispose()
  return results
}

function row({ model, weights, loss, against }) {
  const change = 100 * (loss / against.loss - 1)
  const cells = [
    model,
    weights,
    against.loss.toFixed(3),
    `${change < 0 ? '−' : '+'}${Math.abs(change).toFixed(2)} %`,
    (1000 * against.divergence).toFixed(1),
    `${(100 * against.agreement).toFixed(1)} %`,
  ]
  return `| ${cells.join(' | ')} |`
}

const results = values.table
  ? JSON.parse(readFileSync(values.table, 'utf8'))
  : (await Promise.all(names.map(measure))).flat()
if (values.out) writeFileSync(values.out, `${JSON.stringify(results, null, 2)}\n`)
console.log(
  [
    '| model | weights | loss in bf16 | change | divergence, thousandths | same first choice |',
    '| --- | --- | --- | --- | --- | --- |',
    ...results.map(row),
  ].join('\n'),
)
