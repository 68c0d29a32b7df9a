// The two claims of the papers, measured:
//   experts   MoE++'s expert layer against a vanilla MoE of the same size, by tau (arXiv:2410.07348, tables 1 and 4):
//             time should follow the share of slots that are FFN experts
//   models    Yuan 2.0-M32 and MoE++ 7B with random weights, decode and prefill, beside dense models of as many active
//             parameters (arXiv:2405.17976, table 1: 3.7B of 40B, 7.4 GFLOP a token)
//   node bench/headlines.mjs [experts|models…] [--device cpu|cuda] [--layers N] [--tiny] [--rounds 5] [--json]
// --layers takes that many layers of each model, where all of them do not fit the memory.
import { parseArgs } from 'node:util'
import { Workbench } from '../dist/bench/bench.js'
import { drawIds, placeSlots, randomNumbers } from '../dist/bench/shapes.js'
import { openDevice } from '../dist/device.js'
import { randomModel } from '../dist/index.js'
import { native } from '../dist/native.js'
import * as ops from '../dist/ops/index.js'

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
    up.push(await bench.random([2 * I, H], 'bf16', 'gate_up'))
    down.push(await bench.random([H, I], 'bf16', 'panels'))
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
      const hidden = ops.groupedGemm(plan, x, offsets, up, 'bf16', { activation: 'swiglu', rows })
      const expertOut = ops.groupedGemm(plan, hidden, offsets, down, 'bf16')
      const extra = layerKinds.length > N ? { constants, gates } : {}
      return ops.combine(plan, {
        expertOut,
        rows,
        ids,
        weights,
        residual,
        kinds: layerKinds,
        x,
        ...extra,
      })
    }
    return { record, routed: placed.routed }
  }
  const vanilla = layer(
    Int32Array.from({ length: 2 * tokens }, (_, i) => (i * 7 + (i >> 1)) % N),
    Array(N).fill('ffn'),
  )
  const rows = []
  for (const tau of [0.1, 0.25, 0.5, 0.75, 1]) {
    const ours = layer(idsOf(tokens, tau, 2), kinds)
    const ratios = []
    for (let round = 0; round < rounds; round++) {
      const one = (await bench.time([ours.record], 0.1)).median
      ratios.push(one / (await bench.time([vanilla.record], 0.1)).median)
    }
    const slots = ours.routed / vanilla.routed
    const time = median(ratios)
    rows.push({ tau, ffnSlots: slots, time, gain: 1 / time - 1, offProportion: time / slots - 1 })
    say(
      `experts, tau ${tau.toFixed(2)}: ${(100 * slots).toFixed(1)} % of the slots are FFN, ${(100 * time).toFixed(1)} % of the time, ` +
        `${(100 * (1 / time - 1)).toFixed(1)} % more throughput`,
    )
  }
  bench.release()
  return { tokens, rows }
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

async function measureModels() {
  const rows = []
  for (const [name, config] of models) {
    const contexts = values.tiny ? [16] : device.gpu ? [512, 4096] : [512]
    const batches = values.tiny ? [1, 2] : device.gpu ? [1, 8, 64] : [1, 8]
    const maxTokens = Math.max(contexts.at(-1) + 64, batches.at(-1) * 96)
    const model = await randomModel(config, { device: values.device, dtype: 'bf16', maxTokens })
    const { vocabSize } = model.config
    const token = (i) => (i * 7919 + i * i * 31) % vocabSize
    const ids = (n, seed) => Array.from({ length: n }, (_, i) => token(i + 1000 * seed))
    const row = {
      name,
      layers: config.num_hidden_layers,
      parameters: model.parameters,
      decode: {},
      prefill: {},
    }
    for (const batch of batches) {
      const sequences = Array.from({ length: batch }, () => model.sequence())
      await Promise.all(sequences.map((s, i) => s.forward(ids(16, i), { logits: 'none' })))
      const times = []
      for (let step = 0; step < 12; step++) {
        const started = performance.now()
        await Promise.all(sequences.map((s, i) => s.forward([token(step * 131 + i * 3571)])))
        if (step > 2) times.push((performance.now() - started) / 1000)
      }
      for (const sequence of sequences) sequence.dispose()
      row.decode[batch] = batch / median(times)
    }
    for (const n of contexts) {
      const times = []
      for (let round = 0; round <= Math.min(rounds, 3); round++) {
        const started = performance.now()
        await model.forward(ids(n, round))
        if (round > 0) times.push((performance.now() - started) / 1000)
      }
      row.prefill[n] = n / median(times)
    }
    await model.dispose()
    rows.push(row)
    const cells = (rates) =>
      Object.entries(rates)
        .map(([n, rate]) => `${n}: ${rate.toFixed(1)}`)
        .join(', ')
    say(
      `${name}, ${row.layers} layers, ${(row.parameters.activePerToken / 1e9).toFixed(2)}B of ` +
        `${(row.parameters.total / 1e9).toFixed(2)}B active: tokens/s, decode at batch ${cells(row.decode)}; prefill of ${cells(row.prefill)}`,
    )
  }
  return rows
}

const report = { date: new Date().toISOString(), device: device.info, isa: native().cpu().isa }
if (wanted.includes('experts')) report.experts = await experts()
if (wanted.includes('models')) report.models = await measureModels()
if (values.json) console.log(JSON.stringify(report, null, 2))
