// moe-native against node-llama-cpp: the same random weights, interleaved rounds, ratios with their spread.
//   node bench/peers/node-llama-cpp/run.mjs [--shape A|B|olmoe|qwen3] [--dtype bf16|f32] [--rounds 5] [--block]
//     [--isa avx2|avx512|avx512bf16] [--weights int8|int4] [--json]
// `--weights` quantises both sides: int8 beside q8_0; int4 beside q4_0 experts, with the other matrices in 8 bits on both.
// `--isa` holds both sides to one instruction set. Shares are of what the machine reads and multiplies in the same minutes.
// The first run installs the peer beside this file (about 725 MB) and writes the weights to a temporary folder.
import { execFileSync, fork } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { native } from '../../../build/modules/native.js'
import { devices } from '../../../dist/index.js'
import { activeBytes, shapes, tokenFlops, writeCheckpoint } from '../../checkpoint.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'A' },
    dtype: { type: 'string', default: 'bf16' },
    activations: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    isa: { type: 'string' },
    weights: { type: 'string' },
    block: { type: 'boolean' }, // the MoE blocks alone, by difference of two models
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
/** The peer's library for an instruction set, of those that it would choose from. */
const peerLibraries = { avx2: 'haswell', avx512: 'skylakex', avx512bf16: 'zen4' }

/** A copy of the peer that has nothing else to choose from. */
function peerFolder(isa) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'moe-native-peer-'))
  process.once('exit', () => rmSync(folder, { recursive: true }))
  const platform = `linux-${process.arch}`
  const needed = (file) => {
    const binaries = /@node-llama-cpp\/([^/]+)/.exec(file)
    const library = /libggml-cpu-(.+)\.so/.exec(file)
    return (
      (!binaries || binaries[1] === platform) && (!library || library[1] === peerLibraries[isa])
    )
  }
  cpSync(here, folder, { recursive: true, dereference: true, filter: (from) => needed(from) })
  return folder
}
if (values.isa !== undefined && !(values.isa in peerLibraries))
  throw new Error(
    `--isa must be one of ${Object.keys(peerLibraries).join(', ')}, got ${values.isa}`,
  )
if (values.weights !== undefined && !['int8', 'int4'].includes(values.weights))
  throw new Error(`--weights must be int8 or int4, got ${values.weights}`)
if (values.isa) process.env.MOE_CPU_ISA = values.isa // of this process and of ours.mjs
const peerScript = path.join(values.isa ? peerFolder(values.isa) : here, 'peer.mjs')

/** Folder of a shape's weights in both formats. */
function folderOf(name, c) {
  const kind = values.weights ?? values.dtype
  const folder = path.join(os.tmpdir(), `moe-native-bench-${name}-${kind}`)
  if (!existsSync(path.join(folder, 'model.gguf')))
    writeCheckpoint(folder, c, values.dtype, { gguf: true, weights: values.weights })
  return folder
}

function start(script, ...args) {
  const child = fork(script, args, { serialization: 'advanced' })
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

/** Both programs on one folder. */
async function pair(folder) {
  const gguf = path.join(folder, 'model.gguf')
  return {
    peer: await start(peerScript, gguf, values.threads),
    ours: await start(
      path.join(here, 'ours.mjs'),
      path.join(folder, 'hf'),
      values.threads,
      activations,
      values.weights ?? 'auto',
    ),
  }
}

async function prefill(side, round) {
  return side.ask({ task: 'prefill', ids: tokens(512, round) })
}
async function decode(side, round, batch, steps) {
  const prompts = Array.from({ length: batch }, (_, i) => tokens(8, round * 17 + i))
  const forced = Array.from({ length: steps + 1 }, (_, k) =>
    Array.from({ length: batch }, (_, i) => token(k * 131 + i * 3571 + round)),
  )
  return median(await side.ask({ task: 'decode', prompts, steps: forced }))
}

/** Clients of a server: each sends one request after the other, of lengths of its own; forced tokens. */
async function serve(side, round) {
  const clients = Array.from({ length: 8 }, (_, c) =>
    Array.from({ length: 3 }, (_, r) => {
      const i = 3 * c + r
      const ids = tokens(16 + ((i * 37) % 113), round * 31 + i)
      return { ids, forced: tokens(16 + ((i * 29) % 49), round * 57 + i) }
    }),
  )
  const written = clients.flat().reduce((n, { forced }) => n + forced.length, 0)
  return (1000 * written) / (await full[side].ask({ task: 'serve', clients }))
}

const full = await pair(folderOf(values.shape, shape))
/** With an eighth of the experts' size: what differs is seven eighths of the experts' time. */
const thin =
  values.block && (await pair(folderOf(`${values.shape}-thin`, { ...shape, ffn: shape.ffn / 8 })))
const all = thin ? [full, thin] : [full]

/** Milliseconds of the expert part of all layers by difference, or null where noise ate it. */
const block = (measure) => async (side, round) => {
  const difference = (await measure(full[side], round)) - (await measure(thin[side], round))
  return difference > 0 ? 1000 / ((difference * 8) / 7) : null
}
const rate = (tokensOfStep, measure) => async (side, round) =>
  (1000 * tokensOfStep) / (await measure(full[side], round))
const measures = thin
  ? {
      'expert blocks T = 1, steps/s': block((side, round) => decode(side, round, 1, 24)),
      'expert blocks T = 8, steps/s': block((side, round) => decode(side, round, 8, 12)),
      'expert blocks T = 32, steps/s': block((side, round) => decode(side, round, 32, 8)),
      'expert blocks T = 512, steps/s': block(prefill),
    }
  : {
      'prefill 512, tokens/s': rate(512, prefill),
      'decode batch 1, tokens/s': rate(1, (side, round) => decode(side, round, 1, 24)),
      'decode batch 8, tokens/s': rate(8, (side, round) => decode(side, round, 8, 12)),
      '8 clients, mixed lengths, new tokens/s': serve,
    }

/** What the machine can do, per second: bytes read, and multiplications and additions. */
const rates = { read: [], matrix: [] }
const threads = Number(values.threads)
const probe = async (kind) => {
  const { work, seconds } = await native().probe(kind, threads)
  return work / seconds
}
const matrixKind = activations === 'bf16' && (await probe('bf16_dot')) > 0 ? 'bf16_dot' : 'f32'
const flops = tokenFlops(shape)
/** A token's share of a rate: what it multiplies, or what its step reads. */
const limits = {
  'prefill 512, tokens/s': ['matrix', flops.experts + flops.dense],
  'decode batch 1, tokens/s': ['read', activeBytes(shape, values.dtype, 1, values.weights)],
  'decode batch 8, tokens/s': ['read', activeBytes(shape, values.dtype, 8, values.weights) / 8],
}

const results = Object.fromEntries(
  Object.keys(measures).map((name) => [name, { ours: [], peer: [] }]),
)
for (let round = 0; round <= Number(values.rounds); round++) {
  rates.read.push(await probe('read'))
  rates.matrix.push(await probe(matrixKind))
  for (const [name, measure] of Object.entries(measures))
    for (const side of round % 2 ? ['ours', 'peer'] : ['peer', 'ours']) {
      const value = await measure(side, round)
      if (round > 0) results[name][side].push(value) // the first round warms up
    }
}
for (const sides of all) for (const side of Object.values(sides)) side.stop()

const [cpu] = await devices()
/** Of the machine's rate, for both sides. */
function shares(name, ours, peer) {
  if (!limits[name]) return {}
  const [rate, each] = limits[name]
  const of = (perSecond) => (perSecond * each) / median(rates[rate])
  return { limit: rate, oursOfLimit: of(ours), peerOfLimit: of(peer) }
}
const report = {
  shape: values.shape,
  ...{
    dtype: values.dtype,
    weights: values.weights,
    activations,
    threads,
    rounds: Number(values.rounds),
  },
  ...{
    cpu: cpu.name,
    isa: cpu.isa,
    activeWeightBytes: activeBytes(shape, values.dtype, 1, values.weights),
  },
  machine: { readGBps: median(rates.read) / 1e9, matrixGflops: median(rates.matrix) / 1e9 },
  results: Object.fromEntries(
    Object.entries(results).map(([name, sides]) => {
      const rounds = sides.ours.map((_, i) => i).filter((i) => sides.ours[i] && sides.peer[i])
      const [ours, peer] = [sides.ours, sides.peer].map((list) => rounds.map((i) => list[i]))
      const ratios = ours.map((value, i) => value / peer[i])
      return [
        name,
        {
          ours: median(ours),
          peer: median(peer),
          ratio: median(ratios),
          min: Math.min(...ratios),
          max: Math.max(...ratios),
          rounds: rounds.length,
          ...shares(name, median(ours), median(peer)),
        },
      ]
    }),
  ),
}
if (values.json) console.log(JSON.stringify(report, null, 2))
else {
  console.log(
    `shape ${report.shape}, ${report.weights ?? report.dtype} weights, ${activations} activations, ${report.threads} threads, ${report.cpu} (${report.isa})`,
  )
  const { readGBps, matrixGflops } = report.machine
  console.log(
    `the machine reads ${readGBps.toFixed(1)} GB/s and has ${matrixGflops.toFixed(0)} GFLOP/s`,
  )
  for (const [name, r] of Object.entries(report.results)) {
    const share = (of) => (r.limit ? ` (${of.toFixed(2)} of ${r.limit} rate)` : '')
    console.log(
      `${name.padEnd(26)} ours ${r.ours.toFixed(1).padStart(8)}${share(r.oursOfLimit)}  peer ${r.peer.toFixed(1).padStart(8)}${share(r.peerOfLimit)}  ratio ${r.ratio.toFixed(2)} [${r.min.toFixed(2)}..${r.max.toFixed(2)}]`,
    )
  }
}
process.exit(0)
