// The two claims of the papers, measured:
//   experts   MoE++'s expert layer against a vanilla MoE of the same size, by tau (arXiv:2410.07348, tables 1 and 4):
//             time should follow the share of slots that are FFN experts
//   models    Yuan 2.0-M32 and MoE++ 7B with random weights, decode and prefill, beside dense models of as many active
//             parameters (arXiv:2405.17976, table 1: 3.7B of 40B, 7.4 GFLOP a token)
//   node bench/headlines.mjs [experts|models…] [--device cpu|cuda] [--layers N] [--tiny] [--rounds 5] [--json]
// --layers takes that many layers of each model, where all of them do not fit the memory.
import { parseArgs } from 'node:util'
import { CeilingProbe } from '../build/modules/bench/ceilings.js'
import { drawIds, placeSlots, randomNumbers } from '../build/modules/bench/shapes.js'
import { Workbench } from '../build/modules/bench/workbench.js'
import { openDevice } from '../build/modules/device.js'
import { native } from '../build/modules/native.js'
import * as ops from '../build/modules/ops/index.js'
import { randomModel } from '../dist/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'auto' },
    layers: { type: 'string' },
    tiny: { type: 'boolean' },
    rounds: { type: 'string', default: '5' },
    json: { type: 'boolean' },
  },
})
const wanted = positionals.length > 0 ? positionals : ['experts', 'models']
const device = openDevice(values.device)
const rounds = Number(values.rounds)
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
const say = (line) => (values.json ? process.stderr : process.stdout).write(`${line}\n`)
/** With --json, one line of JSON for each result as it comes: what was measured outlives a limit of time. */
const note = (result) => values.json && console.log(JSON.stringify(result))

/** MoE++ 7B: 16 FFN and 4 zero-computation experts, top-2. */
const shape = values.tiny ? { H: 64, I: 96, N: 4 } : { H: 1536, I: 4096, N: 16 }
const kinds = [...Array(shape.N).fill('ffn'), 'constant', 'constant', 'copy', 'zero']

/** Ids of two distinct experts a token, an FFN expert being tau times as likely as a zero-computation one. */
const idsOf = (tokens, tau, seed) =>
  drawIds(
    kinds.map((kind) => (kind === 'ffn' ? tau : 1)),
    tokens,
    2,
    randomNumbers(seed),
  )

async function experts() {
  const bench = new Workbench(device, 'bf16', values.tiny ?? false)
  const tokens = values.tiny ? 24 : device.gpu ? 4096 : 512
  const { H, I, N } = shape
  const up = []
  const down = []
  for (let e = 0; e < N; e++) {
    up.push(await bench.weight([2 * I, H], true))
    down.push(await bench.weight([H, I]))
  }
  const x = await bench.random([tokens, H])
  const residual = await bench.random([tokens, H], 'f32')
  const weights = await bench.random([tokens, 2], 'f32')
  const constants = await bench.random([2, H], 'f32')
  const gates = await bench.random([2, 2, H], 'f32')

  /** The expert layer behind a router's choice. */
  const layer = (choice, layerKinds) => {
    const placed = placeSlots(choice, layerKinds)
    const [rows, offsets] = [
      bench.numbers(placed.rows, [tokens, 2]),
      bench.numbers(placed.offsets, [N + 1]),
    ]
    const ids = bench.numbers(choice, [tokens, 2])
    const record = (plan) => {
      const permuted = ops.permute(plan, { x, rows }).out
      const activation = 'swiglu'
      const gemm = { offsets, dtype: 'bf16' }
      const hidden = ops.groupedGemm(plan, { x: permuted, weights: up, activation, ...gemm }).out
      const expertOut = ops.groupedGemm(plan, { x: hidden, weights: down, ...gemm }).out
      const extra = layerKinds.length > N ? { constants, gates } : {}
      const chosen = { expertOut, rows, ids, weights, kinds: layerKinds }
      return ops.combine(plan, { ...chosen, residual, x, ...extra })
    }
    return { record, routed: placed.routed }
  }
  const vanilla = layer(
    Int32Array.from({ length: 2 * tokens }, (_, i) => (i * 7 + (i >> 1)) % N),
    Array(N).fill('ffn'),
  )
  for (const tau of [0.1, 0.25, 0.5, 0.75, 1]) {
    const ours = layer(idsOf(tokens, tau, 2), kinds)
    const ratios = []
    for (let round = 0; round < rounds; round++) {
      const one = (await bench.time([ours.record], 0.1)).median
      ratios.push(one / (await bench.time([vanilla.record], 0.1)).median)
    }
    const slots = ours.routed / vanilla.routed
    const time = median(ratios)
    note({
      tau,
      tokens,
      ffnSlots: slots,
      time,
      gain: 1 / time - 1,
      offProportion: time / slots - 1,
    })
    say(
      `experts, tau ${tau.toFixed(2)}: ${(100 * slots).toFixed(1)} % of the slots are FFN, ${(100 * time).toFixed(1)} % of the time, ` +
        `${(100 * (1 / time - 1)).toFixed(1)} % more throughput`,
    )
  }
  bench.release()
}

const layersOf = (all) => Number(values.layers ?? (values.tiny ? 1 : all))
const yuan = {
  ...{ model_type: 'yuan', vocab_size: 135040, hidden_size: 2048, num_hidden_layers: layersOf(24) },
  ...{ num_attention_heads: 16, attention_projection_size: 4096, max_position_embeddings: 16384 },
  moe_config: { moe_num_experts: 32, moe_top_k: 2, ffn_hidden_size: 8192, gated_linear_unit: true },
}
const moepp = {
  ...{ model_type: 'MoE++', vocab_size: 65536, hidden_size: 1536, num_hidden_layers: layersOf(24) },
  ...{ num_attention_heads: 16, intermediate_size: 4096, num_experts: [20] },
  ...{ moe_use_logits_norm: true, moe_2layer_gate: false, moe_feature_no_mul_topk: true },
}
/** Mixtral with one expert is a dense model. `ffn` makes its parameters those that the other one has active. */
const dense = (of, ffn) => ({
  ...{ model_type: 'mixtral', vocab_size: of.vocab_size, hidden_size: of.hidden_size },
  ...{ num_hidden_layers: of.num_hidden_layers, num_attention_heads: 16, intermediate_size: ffn },
  ...{ num_local_experts: 1, num_experts_per_tok: 1, tie_word_embeddings: true },
})
const small = { vocab_size: 512, hidden_size: 64, intermediate_size: 96 }
const models = values.tiny
  ? [['MoE++', { ...moepp, ...small, num_experts: [8] }]]
  : [
      ['Yuan 2.0-M32', yuan],
      ['dense, Yuan’s active parameters', dense(yuan, 20480)],
      ['MoE++ 7B', moepp],
      ['dense, MoE++’s active parameters', dense(moepp, 8192)],
    ]

/** What a decode step must read and a prompt must multiply, at least; slots go to all kinds of experts alike. */
function floors({ config, parameters: { total, activePerToken: active } }) {
  const { numLayers, numHeads, numKeyValueHeads, headSize, topK, experts: all } = config
  const head = config.vocabSize * config.hiddenSize // a prompt's last token only
  const N = all.filter((kind) => kind === 'ffn').length
  const expert = N > topK ? (total - active) / (numLayers * (N - topK)) : 0
  const dense = active - numLayers * topK * expert
  const slots = (topK * N) / all.length // of a token, at FFN experts
  const elementBytes = 2
  return {
    bytes(batch, context) {
      const distinct = N * (1 - (1 - slots / N) ** batch)
      const cache = 2 * batch * context * numLayers * numKeyValueHeads * headSize
      return elementBytes * (dense + numLayers * distinct * expert + cache)
    },
    flops: (tokens) =>
      2 * tokens * (dense - head + numLayers * slots * expert) +
      2 * (head + tokens ** 2 * numLayers * numHeads * headSize),
  }
}

/** Seconds of a decode step of `batch` texts: between tokens of the one that started last. */
async function decodeStep(model, batch, context, prompt) {
  const options = { maxNewTokens: 40, stopIds: [], temperature: 0 }
  const runs = Array.from({ length: batch }, (_, i) => model.generate(prompt(context, i), options))
  const times = []
  const last = (async () => {
    for await (const _ of runs.at(-1)) times.push(performance.now())
  })()
  await Promise.all([last, ...runs.slice(0, -1)])
  // The first steps of a plan are recorded and captured; near the end, other texts are already done.
  const steps = times.slice(4, 20).map((time, i) => (time - times[i + 3]) / 1000)
  return median(steps)
}

async function measureModels() {
  const probe = await CeilingProbe.make(device, 'bf16', values.tiny ?? false)
  const lengths = values.tiny ? [16] : device.gpu ? [512, 4096] : [512]
  const batches = values.tiny ? [1, 2] : device.gpu ? [1, 8, 64] : [1, 8]
  const context = device.gpu && !values.tiny ? 512 : 16
  for (const [name, config] of models) {
    const maxTokens = Math.max(lengths.at(-1) + 64, batches.at(-1) * (context + 64))
    let model
    try {
      model = await randomModel(config, { device: values.device, dtype: 'bf16', maxTokens })
    } catch (error) {
      if (error.code !== 'ERR_MOE_OUT_OF_MEMORY') throw error
      note({ name, error: error.message })
      say(`${name}: ${error.message}`)
      continue
    }
    const { vocabSize } = model.config
    const token = (i) => (i * 7919 + i * i * 31) % vocabSize
    const prompt = (n, seed) => Array.from({ length: n }, (_, i) => token(i + 1000 * seed))
    const floor = floors(model)
    const layers = config.num_hidden_layers
    note({ name, layers, parameters: model.parameters })
    const { activePerToken, total } = model.parameters
    const billions = (n) => (n / 1e9).toFixed(2)
    say(`${name}, ${layers} layers, ${billions(activePerToken)}B of ${billions(total)}B active`)
    for (const batch of batches) {
      const before = await probe.read()
      const seconds = await decodeStep(model, batch, context, prompt)
      const read = Math.max(before, await probe.read())
      const share = floor.bytes(batch, context) / seconds / read
      const starts = Array.from({ length: batch }, (_, i) => [token(i)])
      await model.profile(starts, 1)
      const { launches } = await model.profile(starts, 1)
      note({
        name,
        decode: batch,
        context,
        seconds,
        tokensPerSecond: batch / seconds,
        read,
        share,
        launches,
      })
      say(
        `  decode, batch ${batch}: ${(1000 * seconds).toFixed(2)} ms a step, ${(batch / seconds).toFixed(1)} tokens/s, ` +
          `${(100 * share).toFixed(1)} % of the read bandwidth${launches ? `, ${launches} launches` : ''}`,
      )
    }
    for (const n of lengths) {
      const times = []
      for (let round = 0; round <= Math.min(rounds, 3); round++) {
        const started = performance.now()
        await model.forward(prompt(n, round))
        if (round > 0) times.push((performance.now() - started) / 1000)
      }
      const seconds = median(times)
      const { matrix } = await probe.all()
      const share = floor.flops(n) / seconds / matrix
      note({ name, prefill: n, seconds, tokensPerSecond: n / seconds, matrix, share })
      say(
        `  prefill of ${n}: ${(1000 * seconds).toFixed(1)} ms, ${(n / seconds).toFixed(0)} tokens/s, ` +
          `${(100 * share).toFixed(1)} % of the matrix rate`,
      )
    }
    await model.dispose()
  }
  probe.release()
}

note({ date: new Date().toISOString(), device: device.info, isa: native().cpu().isa })
if (wanted.includes('experts')) await experts()
if (wanted.includes('models')) await measureModels()
