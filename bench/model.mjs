// What a whole model reaches on this machine's CPU, as shares of what the machine can do in the same minutes.
//   npm run bench:model [-- --shape A|B|tiny] [--dtype bf16|f32] [--activations bf16|f32] [--rounds 5] [--json]
// Random Mixtral-architecture weights are written to the temporary folder once.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { native } from '../build/modules/native.js'
import { devices, loadModel } from '../dist/index.js'
import { activeBytes, shapes, tokenFlops, writeCheckpoint } from './checkpoint.mjs'

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'A' },
    dtype: { type: 'string', default: 'bf16' },
    activations: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean' },
  },
})
const shape = shapes[values.shape]
const activations = values.activations ?? values.dtype
const rounds = Number(values.rounds)
const weights = path.join(os.tmpdir(), `moe-native-bench-${values.shape}-${values.dtype}`)
const folder = path.join(weights, 'hf')
if (!existsSync(folder)) writeCheckpoint(weights, shape, values.dtype)

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const token = (i) => 100 + ((i * 7919 + i * i * 31) % (shape.vocab - 200))
const tokens = (n, seed) => Array.from({ length: n }, (_, i) => token(i + 1000 * seed))
const [cpu] = await devices()

async function probe(kind) {
  const { work, seconds } = await native().probe(kind, cpu.threads)
  return work / seconds / 1e9
}

/** Peak resident memory of this process, bytes. */
const peakMemory = () =>
  1024 * Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])

// Loading first, while the peak memory is that of loading.
const fileBytes = statSync(path.join(folder, 'model.safetensors')).size
native() // the addon counts as base
const before = peakMemory()
const started = performance.now()
const model = await loadModel(folder, {
  device: 'cpu',
  dtype: activations,
  maxTokens: shape.context,
})
const loadSeconds = (performance.now() - started) / 1000
const cacheBytes =
  model.config.numLayers *
  2 *
  shape.context *
  shape.kv *
  (shape.hidden / shape.heads) *
  (activations === 'bf16' ? 2 : 4)
const peakBytes = peakMemory()
const load = { seconds: loadSeconds, fileBytes, gigabytesPerSecond: fileBytes / loadSeconds / 1e9 }

const flops = tokenFlops(shape)

/** Seconds of a step by op, medians over the iterations. */
async function profile(sequences) {
  const iterations = 5
  const { ops, seconds } = await model.profile(sequences, iterations)
  const byOp = {}
  for (const [o, name] of ops.entries()) {
    const times = Array.from({ length: iterations }, (_, i) => seconds[i * ops.length + o])
    byOp[name] = (byOp[name] ?? 0) + median(times)
  }
  return byOp
}

async function decode(batch, steps, seed) {
  const sequences = Array.from({ length: batch }, () => model.sequence())
  await Promise.all(sequences.map((s, i) => s.forward(tokens(8, seed + i), { logits: 'none' })))
  const times = []
  for (let k = 0; k <= steps; k++) {
    const began = performance.now()
    await Promise.all(sequences.map((s, i) => s.forward([token(k * 131 + i * 3571 + seed)])))
    if (k > 0) times.push((performance.now() - began) / 1000)
  }
  for (const s of sequences) s.dispose()
  return median(times)
}

const samples = {
  read: [],
  rate: [],
  prefill: [],
  block: [],
  decode1: [],
  decode8: [],
}
const matrixKind = activations === 'bf16' && (await probe('bf16_dot')) > 0 ? 'bf16_dot' : 'f32'
for (let round = 0; round <= rounds; round++) {
  const read = await probe('read')
  const rate = await probe(matrixKind)
  const began = performance.now()
  await model.forward(tokens(512, round))
  const prefill = 512000 / (performance.now() - began)
  const parts = await profile([tokens(512, round)])
  const one = await decode(1, 16, round)
  const eight = await decode(8, 8, round)
  if (round === 0) continue // warms up
  samples.read.push(read)
  samples.rate.push(rate)
  samples.prefill.push(prefill)
  samples.block.push((512 * flops.experts) / parts.groupedGemm / 1e9 / rate)
  samples.decode1.push(one)
  samples.decode8.push(eight)
}

/** Decode beside two processes that never sleep, against decode alone. */
async function besideBusyLoops() {
  const ratios = []
  for (let round = 0; round < rounds; round++) {
    const alone = await decode(1, 16, 99)
    const loops = [0, 1].map(() => spawn(process.execPath, ['-e', 'for(;;);']))
    await new Promise((resolve) => setTimeout(resolve, 300))
    ratios.push((await decode(1, 16, 99)) / alone)
    for (const loop of loops) loop.kill()
  }
  return median(ratios)
}
const busy = await besideBusyLoops()
const memory = {
  peakBytes,
  baseBytes: before,
  weightAndCacheBytes: fileBytes + cacheBytes,
}
await model.dispose()

/** Milliseconds of a generated token beside its plan, on the demo model, whose plan is short. */
async function overhead() {
  const demo = await loadModel(fileURLToPath(new URL('../demo/mixtral-tiny', import.meta.url)), {
    device: 'cpu',
  })
  const times = []
  let last = performance.now()
  for await (const _ of demo.generate([1, 2, 3], { maxNewTokens: 200, stopIds: [] })) {
    times.push(performance.now() - last)
    last = performance.now()
  }
  const { ops, seconds } = await demo.profile([[9]], 50)
  const steps = Array.from({ length: 50 }, (_, i) =>
    seconds.subarray(i * ops.length, (i + 1) * ops.length).reduce((a, b) => a + b),
  )
  await demo.dispose()
  return median(times) - 1000 * median(steps)
}

/** Milliseconds of a process that writes one token of the demo, and of node alone. */
function coldStart() {
  const cli = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../dist/cli/main.js')
  const time = (...args) => {
    const began = performance.now()
    spawnSync(process.execPath, args)
    return performance.now() - began
  }
  const runs = Array.from({ length: 7 }, () => [time(cli, 'generate', '-n', '1'), time('-e', '0')])
  return { firstTokenMs: median(runs.map((r) => r[0])), nodeAloneMs: median(runs.map((r) => r[1])) }
}

const active = activeBytes(shape, values.dtype)
const [read, rate] = [median(samples.read), median(samples.rate)]
const prefill = median(samples.prefill)
const report = {
  ...{
    shape: values.shape,
    dtype: values.dtype,
    activations,
    rounds,
    cpu: cpu.name,
    isa: cpu.isa,
    threads: cpu.threads,
  },
  machine: { readGigabytesPerSecond: read, matrixRate: rate, matrixKind },
  prefill512: {
    tokensPerSecond: prefill,
    shareOfMatrixRate: (prefill * (flops.experts + flops.dense)) / 1e9 / rate,
    expertGemmShare: median(samples.block),
  },
  decode1: {
    tokensPerSecond: 1 / median(samples.decode1),
    shareOfReadBandwidth: median(samples.decode1.map((s, i) => active / s / 1e9 / samples.read[i])),
  },
  decode8: { tokensPerSecond: 8 / median(samples.decode8) },
  overheadPerTokenMs: await overhead(),
  slowdownBesideTwoBusyLoops: busy,
  load,
  memory: {
    ...memory,
    overWeightsAndCache: (memory.peakBytes - memory.baseBytes) / memory.weightAndCacheBytes,
  },
  coldStart: coldStart(),
}
console.log(values.json ? JSON.stringify(report, null, 2) : report)
