// Vision transformers of B/16's size with random weights on the CPU: their share of the matrix rate, for each kind of router.
//   node bench/vision.mjs [--images 5] [--dtype bf16|f32] [--weights bf16|f32] [--models vmoe,choice,soft] [--rounds 10] [--json]
// Model and probe take turns, and the fastest of each counts: other programs only ever take time away.
// Operations: products of tokens and slots that experts served, scores and values, and what mixes slots; norms and softmax
// count nothing. Soft MoE and expert choice have 16 experts where the papers have 128, with as many slots in all.
import { parseArgs } from 'node:util'
import { native } from '../build/modules/native.js'
import { randomModel } from '../dist/index.js'

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '5' },
    dtype: { type: 'string', default: 'bf16' },
    weights: { type: 'string', default: 'bf16' },
    models: { type: 'string', default: 'vmoe,choice,soft' },
    rounds: { type: 'string', default: '10' },
    json: { type: 'boolean' },
  },
})
const { dtype, weights } = values
const B = Number(values.images)
const [H, M, heads, classes, layers] = [768, 3072, 12, 1000, 12]
const sizes = {
  ...{ image_size: [224, 224], num_channels: 3, patch_size: [16, 16], hidden_size: H },
  num_classes: classes,
}
const encoder = { num_layers: layers, mlp_dim: M, num_heads: heads }
const half = [6, 7, 8, 9, 10, 11]
const few = { capacity_factor: 1, capacity_ceil_or_round: 'round', capacity_multiple_of: 1 }
const configs = {
  // gs://vmoe_checkpoints/vmoe_b16_imagenet21k_randaug_strong, a token at a time
  vmoe: {
    ...{ model_type: 'vmoe', ...sizes, classifier: 'token' },
    encoder: {
      ...encoder,
      moe: {
        ...{ layers: [1, 3, 5, 7, 9, 11], num_experts: 8, group_size: 8 * 197 },
        router: { num_selected_experts: 2, dispatcher: { capacity_factor: 1.05 } },
      },
    },
  },
  choice: {
    ...{ model_type: 'vmoe', ...sizes, classifier: 'gap' },
    encoder: {
      ...{ ...encoder, attention_qk_norm: true },
      moe: {
        ...{ layers: half, num_experts: 16, group_size: 196 },
        router: { name: 'NoisyTopItemsPerExpertRouter', dispatcher: few },
      },
    },
  },
  soft: {
    ...{ model_type: 'soft_moe', ...sizes, classifier: 'gap' },
    encoder: {
      ...{ ...encoder, attention_qk_norm: true },
      moe: {
        ...{ layers: half, num_experts: 16, group_size: 196 },
        router: { name: 'SoftRouter', num_slots: 8 },
      },
    },
  },
}

const { threads } = native().cpu()
async function probe(kind) {
  const { work, seconds } = await native().probe(kind, threads)
  return work / seconds
}
const dots = dtype === 'bf16' && weights === 'bf16' && (await probe('bf16_dot')) > 0
const kind = dots ? 'bf16_dot' : 'f32'

/** Operations of one image, whose routing is known. */
function operations(config, routing) {
  const patches = (224 / 16) ** 2
  const N = config.tokens
  const { numExperts: E, router } = config.moe
  const mlp = (rows) => 4 * rows * H * M
  const moe = ({ dropped, dispatch }) =>
    dispatch
      ? mlp(E * router.slots) + 6 * N * E * router.slots * H
      : mlp(dropped.reduce((n, one) => n - one, dropped.length)) + 2 * N * H * E
  const blocks = routing.map((r) => 8 * N * H * H + 4 * N * N * H + (r ? moe(r) : mlp(N)))
  return 2 * patches * H * H + blocks.reduce((a, b) => a + b) + 2 * H * classes
}

const results = []
for (const name of values.models.split(',')) {
  const model = await randomModel(configs[name], { device: 'cpu', dtype, weights })
  const images = Array.from({ length: B }, (_, b) => ({
    data: Float32Array.from({ length: 224 * 224 * 3 }, (_, i) => Math.sin(b + i * 0.37)),
    ...{ width: 224, height: 224 },
  }))
  const traced = await model.classify(images, { routing: true })
  const flops = traced.reduce((sum, { routing }) => sum + operations(model.config, routing), 0)
  let [seconds, rate] = [Number.POSITIVE_INFINITY, 0]
  for (let round = 0; round < Number(values.rounds); round++) {
    rate = Math.max(rate, await probe(kind))
    const begun = performance.now()
    await model.classify(images)
    seconds = Math.min(seconds, (performance.now() - begun) / 1000)
  }
  const result = {
    ...{ model: name, images: B, dtype, weights, threads },
    ...{ isa: model.device.isa, cpu: model.device.name },
    ...{ secondsPerImage: seconds / B, gflopsPerImage: flops / B / 1e9 },
    ...{ matrixGflops: rate / 1e9, rate: kind, shareOfMatrixRate: flops / seconds / rate },
  }
  results.push(result)
  if (!values.json)
    console.log(
      `${name}: ${((1000 * seconds) / B).toFixed(1)} ms an image of ${B}, ${result.gflopsPerImage.toFixed(1)} Gflop, ` +
        `${result.shareOfMatrixRate.toFixed(2)} of ${(rate / 1e9).toFixed(0)} Gflop/s (${kind})`,
    )
  await model.dispose()
}
if (values.json) console.log(JSON.stringify(results, null, 2))
