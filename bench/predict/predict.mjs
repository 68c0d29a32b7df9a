// PREDICTED times of decode and prefill on an H100 and an H200: a model, no measurement. It takes launches.json, what the
// host's code launches at the sizes of real models, and says for each launch what it waits for: bytes, operations, waves
// of blocks, and a chain of dependent loads and barriers. Written down so that a measurement has something to disagree with.
//   node bench/predict/predict.mjs [--detail "Yuan 2.0-M32"] [--out DIR] [--without ahead,prefetch,pairs,routing,wgmma,cache,guess,waves,wide]
// Writes predicted.json and the tables of docs/predicted.md; with --out both there. --without: what each of these is worth
// (the next step on the GPU before the last one is read, weights asked for early, convolutions that put their pairs
// together, a choice that stays in shared memory, attention of prompts on wgmma, a cache that is asked for early, experts
// that are guessed before the wait, a second wave's tiles asked for by the first, wgmma from 9 rows an expert on). --three: three blocks of a decode kernel
// on a multiprocessor, which by their registers ask for 24 KB each at a time, instead of two with 32 KB.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

/** Bytes a second that a kernel can read, dense bf16 operations a second, memory in bytes; read rates are 0.9 of the data sheet's. */
const gpus = {
  H100: { read: 3.0e12, matrix: 7.9e14, memory: 83.7e9 },
  H200: { read: 4.3e12, matrix: 7.9e14, memory: 149e9 },
}
const multiprocessors = 132
const us = 1e-6
const node = 1.0 * us // from the end of a kernel to work in the next one, overlapped launch
const dram = 0.7 * us // a load that misses
const hit = 0.25 * us // one that the second-level cache has
const cacheRate = 8e12 // bytes a second from the second-level cache
const lineRate = 132 * 1.75e9 // lines of 128 bytes that the first caches look up in a second: one a cycle
const { values } = parseArgs({
  options: {
    ...{ detail: { type: 'string' }, out: { type: 'string' }, without: { type: 'string' } },
    three: { type: 'boolean' },
  },
})
const without = new Set(values.without?.split(','))
// Between two steps of one text: copies and a graph's start; without "ahead" the way over the host, too.
const host = (without.has('ahead') ? 30 : 10) * us
const gridBarrier = 1.2 * us // of a persistent kernel: an atomic, a fence, polling
const tail = 0.3 * us // of a product behind its last weights
/** Of gemm_few and norm_linear: blocks on a multiprocessor, bytes that a block asks for at a time. */
const few = values.three ? { resident: 3, ahead: 24 << 10 } : { resident: 2, ahead: 32 << 10 }
/** Share of the matrix rate that useful rows get: tiles of a schedule by bench/estimates/tiles.mjs, and shared memory. */
const useful = {
  grouped: 0.68,
  dense: 0.8,
  tiles: 0.45,
  attention: 0.27,
  wgmma: without.has('wgmma') ? 0.27 : 0.5,
}

/** What is not bytes: dependent loads, block reductions and merges behind each other, seconds. */
const chains = {
  ...{
    normLinear: 1.2,
    linear: 0.5,
    gatherGemm: 1.9,
    groupedGemm: without.has('guess') ? 1.2 : 0.7,
    headLinear: 0.8,
  },
  ...{
    route: without.has('routing') ? 5.4 : 3.6,
    pairLinear: 1.6,
    topK: 2.5,
    attentionRouter: 1.5,
    ropeAttention: without.has('cache') ? 1.7 : 1.3,
    latentAttention: without.has('cache') ? 3.0 : 2.6,
  },
  ...{ rmsNorm: 1.5, layerNorm: 1.5, latentCache: 1.5, combine: 1.2, causalPair: 1.2 },
  ...{
    permute: 0.8,
    gatherRows: 0.8,
    embedding: 0.8,
    ropeCache: 0.8,
    attention: without.has('cache') ? 1.7 : 1.3,
  },
}
const fill = 1.5 * us // of a kernel for matrix units: its first slabs and its last outputs
const isAttention = (op) => ['ropeAttention', 'latentAttention', 'attention'].includes(op)
/** Loads behind each other in a cache block: twelve of 32 keys' chunks at a time, the first values' beside them. */
const roundsOf = (op, { keyWidth, valueWidth }) =>
  op === 'latentAttention'
    ? 2
    : Math.ceil(keyWidth / 96) + Math.max(0, Math.ceil(valueWidth / 96) - 1)

/** Of gemm_few, which reads each weight once for its few rows; else of a kernel for matrix units. */
const streams = ({ K, threads, rows, grouped, groups }) =>
  K !== undefined &&
  (threads !== 384 || (grouped && without.has('wide'))) &&
  rows <= (grouped ? 16 * groups : 512)
/** Its tiles of 16 rows of weights. */
const tilesOf = ({ threads, outputs, grid }) => (threads === 384 ? outputs / 16 : grid[0])

/** What a launch reads and computes in a step of `texts` texts of `tokens` tokens that see `context`. */
function work(op, launch, step, config) {
  const { texts, tokens, context } = step
  const T = texts * tokens
  const product = launch.K !== undefined
  if (product) {
    const slots = launch.rows / T
    const rows = launch.grouped ? launch.rows * config.ffnShare : launch.rows
    const share = (slots * config.ffnShare) / launch.groups
    const distinct = launch.grouped ? launch.groups * (1 - (1 - share) ** T) : launch.groups
    const outputs = streams(launch) ? 16 * tilesOf(launch) : launch.outputs // panels of 64 are padded
    const matrix = outputs * launch.K
    return { bytes: 2 * matrix * distinct, flops: 2 * matrix * rows, distinct }
  }
  if (launch.heads !== undefined && op !== 'latentAttention') {
    const { heads, keyHeads, keyWidth, valueWidth } = launch
    const pairs = tokens > 1 ? (T * (T + 1)) / 2 : T * context
    return {
      bytes: 2 * texts * context * keyHeads * (keyWidth + valueWidth),
      flops: 2 * pairs * heads * (keyWidth + valueWidth),
    }
  }
  if (op === 'latentAttention') {
    const width = config.latent + config.rope
    const pairs = tokens > 1 ? (T * (T + 1)) / 2 : T * context
    return {
      bytes: 2 * texts * context * width,
      flops: 2 * pairs * config.heads * (width + config.latent),
    }
  }
  // Rows of the residual stream or of experts, read and written.
  const values = { permute: 4 * config.topK, combine: 8 + 2 * config.topK, ropeCache: 12 }[op] ?? 6
  return { bytes: T * config.hidden * values, flops: 0 }
}

/** Seconds of one launch behind one in which memory was idle for `idle` seconds. */
function seconds(op, launch, step, config, gpu, idle) {
  const { bytes, flops, distinct } = work(op, launch, step, config)
  const unpaired = op === 'pairLinear' && without.has('pairs')
  const chain = (unpaired ? chains.linear : (chains[op] ?? 1)) * us
  const blocks = launch.grid[0] * launch.grid[1] * launch.grid[2]
  if (streams(launch)) {
    // Streams its weights; blocks of groups without rows end at once.
    const working = launch.grouped ? tilesOf(launch) * distinct : tilesOf(launch)
    // A tile's 16 rows take 512 bytes, which are four lines, for 16 k, and those of x two lines each.
    const rows = (launch.rows * (launch.grouped ? config.ffnShare : 1)) / distinct
    const most = Math.min(gpu.read, (lineRate * 512) / (4 + 2 * rows), cacheRate / (1 + rows / 16))
    const rate = (n, each = few.ahead) => Math.min(most, (n * each) / dram)
    const slots = few.resident * multiprocessors
    const perBlock = bytes / working
    const waves = Math.floor(working / slots)
    const rest = working - waves * slots
    // Blocks of the first wave have asked for all that they need.
    // Experts of a product behind the router's next one are known.
    const known = !launch.grouped || (op === 'groupedGemm' && !without.has('guess'))
    const prefetched = known && !without.has('prefetch')
    const each = prefetched && waves === 0 ? Math.max(few.ahead, perBlock) : few.ahead
    const apart =
      (waves * slots * perBlock) / rate(slots) + (rest * perBlock) / rate(Math.max(rest, 1), each)
    // The second wave's tiles come to the cache with those of the first: its blocks read them from there.
    const second = waves === 1 && prefetched && !launch.grouped && !without.has('waves')
    const fromCache = bytes / most + (rest ? (perBlock / few.ahead) * hit : 0)
    const streaming = second ? Math.min(apart, fromCache) : apart
    // What is asked for before the kernel before has ended, by blocks that are there, which they are a launch after it
    // began: into registers half of it, since that one reads, too; into the second-level cache while memory is idle.
    const first = Math.min(bytes, Math.min(working, slots) * perBlock)
    const asked = (0.5 * Math.min(first, Math.min(working, slots) * few.ahead)) / gpu.read
    const time = Math.max(0, idle - node) + chain
    const cached = prefetched ? Math.min(first, time * gpu.read) : 0
    const early = !known ? 0 : Math.max(asked, cached / gpu.read - cached / cacheRate)
    const pairs = unpaired ? chains.causalPair * us + node : 0
    return Math.max(streaming - early, flops / gpu.matrix) + chain + node + pairs
  }
  if (launch.K !== undefined) {
    const dense = launch.threads === 384 ? useful.dense : useful.tiles
    const share = launch.grouped ? useful.grouped : dense
    const filled = Math.min(1, blocks / multiprocessors)
    return Math.max(flops / (gpu.matrix * share * filled), bytes / gpu.read) + fill + node
  }
  if (isAttention(op)) {
    if (step.tokens > 1) {
      // Two warpgroups on wgmma, one at its softmax while the other multiplies; or four warps on mma.sync.
      const share = launch.threads === 256 ? useful.wgmma : useful.attention
      return Math.max(flops / (gpu.matrix * share), bytes / gpu.read) + node
    }
    const ranges = Math.ceil(step.context / 64) // two cache blocks each, one a warp
    const heads = op === 'latentAttention' ? Math.ceil(config.heads / 16) : launch.heads
    const waves = Math.ceil((step.texts * ranges * heads) / (8 * multiprocessors))
    // Asked for at once, and before the wait where a block on each multiprocessor is enough.
    const asked = !without.has('cache')
    const first = asked && blocks > multiprocessors ? dram : 0
    const rounds = waves * roundsOf(op, launch) * (asked ? hit : dram)
    return Math.max(bytes / gpu.read, first + rounds) + chain + node
  }
  return bytes / (0.85 * gpu.read) + chain + node
}

/** Every launch of ops in turn with its seconds. */
function* timed(ops, step, config, gpu) {
  let idle = 0
  for (const { op, launches: some } of ops)
    for (const launch of some) {
      const own = seconds(op, launch, step, config, gpu, idle)
      yield { op, launch, seconds: own }
      idle = Math.max(0, own - work(op, launch, step, config).bytes / gpu.read)
    }
}
const total = (...given) => [...timed(...given)].reduce((all, one) => all + one.seconds, 0)

/**
 * The same layer as one kernel that stays: barriers of the grid instead of launches, and memory reads on through chains
 * and barriers, stage by stage. Dense weights and the cache are known from the start, experts a barrier behind the router,
 * both of their matrices at once. `shared`: what is read early waits in shared memory, which takes products written for
 * that; else it waits in the second-level cache, and products are those of the separate kernels. The third of three layers
 * counts. A bound: all blocks end a stage at once, and memory never reads what it has no room for.
 */
function persistentLayer(layer, step, config, gpu, shared) {
  const held = shared ? multiprocessors * 200e3 : 25e6 // half of that cache, whose lines stand in both halves
  let [busy, end, routed, before] = [0, 0, 0, 0] // memory reads until `busy`
  for (let count = 0; count < 3; count++) {
    before = end
    for (const { op, launches } of layer)
      for (const launch of launches) {
        const inputs = end + gridBarrier
        const { bytes } = work(op, launch, step, config)
        const start = Math.max(busy, launch.grouped ? routed + dram : 0)
        const early = Math.min(bytes, held, Math.max(0, inputs - start) * gpu.read)
        const rest = bytes - early
        busy = rest > 0 ? Math.max(start, inputs) + rest / gpu.read : start + early / gpu.read
        const chain = (chains[op] ?? 1) * us + (isAttention(op) ? roundsOf(op, launch) * hit : 0)
        const again = shared || launch.K === undefined ? 0 : early / cacheRate
        end = Math.max(inputs + chain + again, busy + tail)
        if (!launch.grouped) routed = end + gridBarrier
      }
  }
  return end - before
}

const here = (file) => fileURLToPath(new URL(file, import.meta.url))
const launches = JSON.parse(readFileSync(here('launches.json'), 'utf8'))
const models = JSON.parse(readFileSync(here('models.json'), 'utf8'))
const steps = {
  'batch 1': { texts: 1, tokens: 1, context: 512 },
  'batch 8': { texts: 8, tokens: 1, context: 512 },
  'batch 64': { texts: 64, tokens: 1, context: 512 },
  'prompt of 4096': { texts: 1, tokens: 4096, context: 4096 },
}

/** What the launches do not say. */
function sizes(config) {
  const plusPlus = config.model_type === 'MoE++' // 4 of its 20 experts have no weights
  const topK = config.num_experts_per_tok ?? config.moe_config?.moe_top_k ?? config.num_selects ?? 2
  return {
    ...{ hidden: config.hidden_size, heads: config.num_attention_heads, topK },
    ...{ latent: config.kv_lora_rank ?? 0, rope: config.qk_rope_head_dim ?? 0 },
    ffnShare: plusPlus ? 0.8 : 1,
  }
}

const sum = (ops, of) =>
  ops.reduce(
    (all, { op, launches: own }) => all + own.reduce((a, launch) => a + of(op, launch), 0),
    0,
  )

const predicted = {}
for (const [name, recorded] of Object.entries(launches)) {
  const config = sizes(models[name])
  const layers = models[name].num_hidden_layers
  const ends = 4 * models[name].vocab_size * config.hidden
  const weights =
    ends +
    2 *
      layers *
      sum(recorded['batch 1'].layer, (_, { K, outputs, groups }) => (K ? K * outputs * groups : 0))
  predicted[name] = { layers, weightBytes: Math.round(weights) }
  for (const [gpuName, gpu] of Object.entries(gpus)) {
    const own = {}
    predicted[name][gpuName] = own
    for (const [stepName, step] of Object.entries(steps)) {
      const { layer, once } = recorded[stepName]
      const perLayer = total(layer, step, config, gpu)
      const draw = step.tokens > 1 ? 0 : 4 * us + host
      const rest = total(once, step, config, gpu) + draw
      const all = layers * perLayer + rest
      const floor = (ops) =>
        sum(ops, (op, launch) => {
          const { bytes, flops } = work(op, launch, step, config)
          return launch.K || launch.heads ? Math.max(bytes / gpu.read, flops / gpu.matrix) : 0
        })
      const least = layers * floor(layer) + floor(once)
      own[stepName] = {
        microsecondsPerLayer: Math.round(1e7 * perLayer) / 10,
        launchesPerLayer: layer.reduce((n, { launches: some }) => n + some.length, 0),
        tokensPerSecond: Math.round((step.texts * step.tokens) / all),
        shareOfFloor: Math.round((100 * least) / all) / 100,
      }
      if (step.tokens === 1) {
        const gain = (shared) => {
          const persistent = layers * persistentLayer(layer, step, config, gpu, shared) + rest
          return Math.round(100 * (all / persistent - 1)) / 100
        }
        own[stepName].persistentGain = { bodies: gain(false), shared: gain(true) }
      }
      if (name === values.detail && gpuName === 'H200') {
        console.log(`${name}, ${stepName}, ${gpuName}: microseconds of a layer`)
        for (const { op, launch, seconds } of timed(layer, step, config, gpu))
          console.log(`  ${op.padEnd(16)} ${(1e6 * seconds).toFixed(1)}  ${launch.grid.join('x')}`)
      }
    }
  }
}
writeFileSync(
  values.out ? path.join(values.out, 'predicted.json') : here('predicted.json'),
  `${JSON.stringify(predicted, null, 2)}\n`,
)

/** Markdown of one GPU. A model fits when 3 % are left for its cache. */
function table(gpuName) {
  const rows = Object.entries(predicted).map(([name, { weightBytes, [gpuName]: own }]) => {
    if (weightBytes > 0.97 * gpus[gpuName].memory) return `| ${name} | does not fit | | | | | | | |`
    const [one, eight, many, prompt] = Object.keys(steps).map((step) => own[step])
    return `| ${[
      ...[
        name,
        one.launchesPerLayer,
        one.microsecondsPerLayer,
        one.tokensPerSecond,
        `${Math.round(100 * one.shareOfFloor)} %`,
      ],
      ...[
        eight.tokensPerSecond,
        `${Math.round(100 * eight.shareOfFloor)} %`,
        many.tokensPerSecond,
        prompt.tokensPerSecond,
      ],
    ].join(' | ')} |`
  })
  return [
    `## ${gpuName}`,
    '',
    '| model | launches a layer | µs a layer | tokens/s, batch 1 | of the floor | tokens/s, batch 8 | of the floor | batch 64 | prompt of 4096, tokens/s |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows,
  ].join('\n')
}
/** What a persistent layer would add, on an H200. */
function persistentTable() {
  const percent = (gain) => `${gain < 0 ? '' : '+'}${Math.round(100 * gain)} %`
  const rows = Object.entries(predicted).map(([name, { H200 }]) => {
    const cells = ['batch 1', 'batch 8'].flatMap((step) => {
      const { tokensPerSecond, persistentGain } = H200[step]
      return [tokensPerSecond, percent(persistentGain.bodies), percent(persistentGain.shared)]
    })
    return `| ${[name, ...cells].join(' | ')} |`
  })
  return [
    '## H200: a persistent layer instead of separate kernels',
    '',
    '| model | batch 1, tokens/s | same products | from shared memory | batch 8, tokens/s | same products | from shared memory |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows,
  ].join('\n')
}
const page = here('../../docs/predicted.md')
const text = readFileSync(page, 'utf8')
const begin = '<!-- bench/predict/predict.mjs -->'
writeFileSync(
  values.out ? path.join(values.out, 'predicted.md') : page,
  `${text.slice(0, text.indexOf(begin) + begin.length)}\n\n${[...Object.keys(gpus).map(table), persistentTable()].join('\n\n')}\n`,
)
