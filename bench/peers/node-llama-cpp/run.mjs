// moe-native against node-llama-cpp: the same random weights, interleaved rounds, ratios with their spread.
//   node bench/peers/node-llama-cpp/run.mjs [--shape A|B] [--dtype bf16|f32] [--rounds 5] [--json]
// The first run installs the peer beside this file (about 725 MB) and writes the weights to a temporary folder.
import { execFileSync, fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { devices } from '../../../dist/index.js'
import { activeBytes, shapes, writeWeights } from '../../weights.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'A' },
    dtype: { type: 'string', default: 'bf16' },
    activations: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    json: { type: 'boolean' },
  },
})
const shape = shapes[values.shape]
const activations = values.activations ?? values.dtype

if (!existsSync(path.join(here, 'node_modules/node-llama-cpp'))) {
  console.error('installing node-llama-cpp')
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd: here,
    stdio: 'ignore',
  })
}
const weights = path.join(os.tmpdir(), `moe-native-bench-${values.shape}-${values.dtype}`)
if (!existsSync(path.join(weights, 'model.gguf')))
  writeWeights(weights, shape, values.dtype, { gguf: true })

function start(script, ...args) {
  const child = fork(path.join(here, script), args, { serialization: 'advanced' })
  child.once('exit', (code) => code && console.error(`${script} ended with ${code}`))
  const answer = () => new Promise((resolve) => child.once('message', resolve))
  return answer().then(() => ({
    ask(message) {
      const result = answer()
      child.send(message)
      return result
    },
    stop: () => child.kill(),
  }))
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const token = (i) => 300 + ((i * 7919 + i * i * 31) % (shape.vocab - 400))
const tokens = (n, seed) => Array.from({ length: n }, (_, i) => token(i + 1000 * seed))

const sides = {
  peer: await start('peer.mjs', path.join(weights, 'model.gguf'), values.threads),
  ours: await start('ours.mjs', path.join(weights, 'hf'), values.threads, activations),
}
const measures = {
  'prefill 512, tokens/s': async (side, round) =>
    512000 / (await side.ask({ task: 'prefill', ids: tokens(512, round) })),
  'decode batch 1, tokens/s': (side, round) => decode(side, round, 1, 24),
  'decode batch 8, tokens/s': (side, round) => decode(side, round, 8, 12),
}
async function decode(side, round, batch, steps) {
  const prompts = Array.from({ length: batch }, (_, i) => tokens(8, round * 17 + i))
  const forced = Array.from({ length: steps + 1 }, (_, k) =>
    Array.from({ length: batch }, (_, i) => token(k * 131 + i * 3571 + round)),
  )
  return (1000 * batch) / median(await side.ask({ task: 'decode', prompts, steps: forced }))
}

const results = Object.fromEntries(
  Object.keys(measures).map((name) => [name, { ours: [], peer: [] }]),
)
for (let round = 0; round <= Number(values.rounds); round++)
  for (const [name, measure] of Object.entries(measures))
    for (const side of round % 2 ? ['ours', 'peer'] : ['peer', 'ours']) {
      const value = await measure(sides[side], round)
      if (round > 0) results[name][side].push(value) // the first round warms up
    }
for (const side of Object.values(sides)) side.stop()

const [cpu] = await devices()
const report = {
  shape: values.shape,
  ...{
    dtype: values.dtype,
    activations,
    threads: Number(values.threads),
    rounds: Number(values.rounds),
  },
  ...{ cpu: cpu.name, isa: cpu.isa, activeWeightBytes: activeBytes(shape, values.dtype) },
  results: Object.fromEntries(
    Object.entries(results).map(([name, { ours, peer }]) => {
      const ratios = ours.map((value, i) => value / peer[i])
      return [
        name,
        {
          ours: median(ours),
          peer: median(peer),
          ratio: median(ratios),
          min: Math.min(...ratios),
          max: Math.max(...ratios),
        },
      ]
    }),
  ),
}
if (values.json) console.log(JSON.stringify(report, null, 2))
else {
  console.log(
    `shape ${report.shape}, ${report.dtype} weights, ${activations} activations, ${report.threads} threads, ${report.cpu} (${report.isa})`,
  )
  for (const [name, r] of Object.entries(report.results))
    console.log(
      `${name.padEnd(26)} ours ${r.ours.toFixed(1).padStart(8)}  peer ${r.peer.toFixed(1).padStart(8)}  ratio ${r.ratio.toFixed(2)} [${r.min.toFixed(2)}..${r.max.toFixed(2)}]`,
    )
}
process.exit(0)
