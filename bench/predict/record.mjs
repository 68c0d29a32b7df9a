// Writes launches.json: every launch of a step of real models on an H100 or H200, as the host's code makes it. Nothing is
// computed: the simulated GPU notes launches and runs none (MOE_SIM_RECORD), so that sizes cost nothing.
//   node bench/predict/record.mjs
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = (file) => fileURLToPath(new URL(file, import.meta.url))
const models = JSON.parse(readFileSync(here('models.json'), 'utf8'))
/** Texts of a step by tokens of each; contexts do not change launches. */
const steps = {
  ...{ 'batch 1': [1, 1], 'batch 8': [8, 1], 'batch 64': [64, 1] },
  'prompt of 4096': [1, 4096],
}

/** In a process of its own: the launches of one model's steps with 2 and with 3 layers, by op. */
async function record(name, file) {
  const { randomModel } = await import('../../dist/index.js')
  const config = models[name]
  const result = {}
  for (const layers of [2, 3]) {
    const model = await randomModel(
      { ...config, num_hidden_layers: layers },
      { device: 'cuda-sim', dtype: 'bf16', maxTokens: 8192 },
    )
    for (const [step, [texts, tokens]] of Object.entries(steps)) {
      writeFileSync(file, '')
      const { ops } = await model.profile(
        Array.from({ length: texts }, () => Array(tokens).fill(1)),
        2,
      )
      // Timed runs wait for the GPU behind each op; before the first one there is another run, so the second counts.
      const groups = [[]]
      for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
        const launch = JSON.parse(line)
        if (launch.synchronized) groups.push([])
        else groups.at(-1).push(launch)
      }
      groups.pop()
      const own = groups.slice(-ops.length).map((launches, i) => ({ op: ops[i], launches }))
      result[step] ??= {}
      result[step][layers] = own
    }
    await model.dispose()
  }
  return result
}

/** What a third layer adds, and what is there once; a layer's ops stand together. */
function perLayer({ 2: two, 3: three }) {
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b)
  const added = three.length - two.length
  let start = 0
  while (start < two.length && same(two[start], three[start])) start++
  start -= added // what differs first stands behind a second layer
  return {
    layer: three.slice(start, start + added),
    once: [...two.slice(0, start - added), ...two.slice(start + added)],
  }
}

const [name, file] = process.argv.slice(2)
if (name) {
  const steps = await record(name, file)
  writeFileSync(file, JSON.stringify(steps))
} else {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-launches-'))
  const out = {}
  for (const model of Object.keys(models)) {
    const to = path.join(folder, 'launches')
    const env = {
      MOE_SIM_RECORD: to,
      MOE_SIM_MULTIPROCESSORS: '132',
      MOE_SIM_MEMORY: '2000000000000',
    }
    execFileSync(process.execPath, [here('record.mjs'), model, to], {
      env: { ...process.env, ...env },
    })
    const steps = JSON.parse(readFileSync(to, 'utf8'))
    if (!JSON.stringify(steps).includes('"K":'))
      throw new Error('no product says its sizes: `described` in test/sim/cuda_runtime.h')
    out[model] = Object.fromEntries(
      Object.entries(steps).map(([step, runs]) => [step, perLayer(runs)]),
    )
    console.error(
      `${model}: ${out[model]['batch 1'].layer.flatMap(({ launches }) => launches).length} launches a layer`,
    )
  }
  rmSync(folder, { recursive: true })
  const lines = Object.entries(out).map(([model, steps]) => {
    const parts = Object.entries(steps).map(
      ([step, parts]) => `  ${JSON.stringify(step)}: ${JSON.stringify(parts)}`,
    )
    return `${JSON.stringify(model)}: {\n${parts.join(',\n')}\n}`
  })
  writeFileSync(here('launches.json'), `{\n${lines.join(',\n')}\n}\n`)
}
