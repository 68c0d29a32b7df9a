// Configurations, of models and of what stands beside them.
import assert from 'node:assert/strict'
import {
  checkpointDefaults,
  generationFile,
} from '../../../build/modules/engine/checkpoint_defaults.js'
import { buildWithoutWeights } from '../../../build/modules/load.js'
import { seq2seqConfig } from '../../../build/modules/load_seq2seq.js'
import { buildVisionWithoutWeights } from '../../../build/modules/load_vision.js'
import { describeModel } from '../../../build/modules/models/index.js'
import { isSeq2Seq, isVision } from '../../../build/modules/models/kinds.js'
import { readVisionConfig } from '../../../build/modules/vision/config.js'
import { parseQuantization } from '../../../build/modules/weights/quantization.js'
import { mutateJson } from '../mutate.mjs'
import { json } from './inputs.mjs'

const configs = `../demo/mixtral-tiny ../demo/moepp-tiny ../demo/yuan-tiny
  fixtures/golden/yuan/tiny-d-variant fixtures/golden/moepp/twolayer-gqa-f32
  fixtures/golden/mixtral/window-f32 fixtures/golden/qwen3_moe/step-yarn-f32
  fixtures/golden/qwen2_moe/base-f32 fixtures/golden/olmoe/base-f32 fixtures/golden/deepseek/base-f32
  fixtures/golden/deepseek_v2/groups-qlora-f32 fixtures/golden/deepseek_v3/base-f32
  fixtures/golden/gpt_oss/base-f32 fixtures/golden/longcat_flash/base-f32
  fixtures/golden/llama_moe/sizes-bf16 fixtures/golden/granitemoe/shared-f32
  fixtures/golden/phimoe/longrope-bf16 fixtures/golden/seq2seq/base-f32
  fixtures/golden/seq2seq/overflow-tied-f32 fixtures/golden/seq2seq/t5-gated-f32
  fixtures/golden/vision/top2-token-f32 fixtures/golden/vision/expert-choice-map-f32
  fixtures/golden/vision/slots1-gap-f32 fixtures/golden/bailing_moe_v2/base-bf16 fixtures/golden/dots1/base-bf16
  fixtures/golden/ernie4_5_moe/base-bf16 fixtures/golden/glm4_moe/base-f32
  fixtures/golden/hunyuan_v1_moe/base-bf16 fixtures/golden/minimax_m2/base-fp8`
  .split(/\s+/)
  .map((dir) => json(`${dir}/config.json`))
const configWords =
  `linear dynamic llama3 yarn default rope_scaling rope_parameters type factor silu
  float32 bfloat16 mixtral yuan MoE++ MixtralForCausalLM sliding_window full_attention
  longrope greedy group_limited_greedy sigmoid noaux_tc linear mlp num_experts first_k_dense_replace
  t5 switch_transformers gated-gelu relu num_sparse_encoder_layers expert_capacity vmoe soft_moe gap map token
  sincos2d learned SoftRouter NoisyTopItemsPerExpertRouter dispatcher capacity ceil round num_slots`.split(
    /\s+/,
  )

const counts = (read, keys) => {
  for (const key of keys)
    assert(Number.isSafeInteger(read[key]) && read[key] >= 1, `${key} ${read[key]}`)
}
const finite = (values) => {
  for (const [key, value] of Object.entries(values))
    assert(Number.isFinite(value) && value >= 0, `${key} ${value}`)
}
const ids = (read) =>
  assert(
    read.eosIds.every((id) => Number.isSafeInteger(id) && id >= 0),
    'ids',
  )

/** A graph takes a hundred times as long as its configuration, and has a handle for each expert of each layer. */
const isBuilt = (random, layers, experts) => random.rarely(8) && layers * (1 + experts) <= 64

function checkDecoder(random, changed) {
  const { config: read } = describeModel(changed)
  counts(read, [
    ...['vocabSize', 'hiddenSize', 'numLayers', 'numHeads', 'numKeyValueHeads', 'headSize', 'topK'],
  ])
  finite({ theta: read.rope.theta, rmsNormEps: read.rmsNormEps })
  assert(read.topK <= read.experts.length, 'topK of the experts')
  ids(read)
  if (isBuilt(random, read.numLayers, read.experts.length)) buildWithoutWeights(changed, {})
}

function checkSeq2Seq(changed) {
  const read = seq2seqConfig({ config: changed, generationConfig: undefined })
  counts(read, ['vocabSize', 'hiddenSize', 'numHeads', 'headSize', 'innerSize', 'buckets'])
  finite({ rmsNormEps: read.rmsNormEps })
  assert(read.maxDistance > read.buckets / 2, 'a logarithm above 0')
  for (const { numLayers, sparse } of [read.encoder, read.decoder])
    assert(
      sparse.every((layer) => layer >= 0 && layer < numLayers),
      'layers that exist',
    )
  ids(read)
}

function checkVision(random, changed) {
  const read = readVisionConfig(changed)
  counts(read, ['imageHeight', 'patchHeight', 'channels', 'hiddenSize', 'numLayers', 'mlpSize'])
  counts(read, ['numHeads', 'headSize', 'tokens'])
  assert(read.numHeads * read.headSize === read.hiddenSize, 'whole heads')
  if (read.moe) counts(read.moe, ['numExperts', 'groupSize'])
  if (isBuilt(random, read.numLayers, read.moe?.numExperts ?? 0)) buildVisionWithoutWeights(changed)
}

export function config(random) {
  const changed = mutateJson(random, random.of(configs), configWords)
  const bytes = Buffer.from(JSON.stringify(changed) ?? 'null')
  const run = () => {
    if (typeof changed !== 'object' || changed === null || Array.isArray(changed)) return
    const read = JSON.parse(bytes)
    if (isSeq2Seq(read)) checkSeq2Seq(read)
    else if (isVision(read)) checkVision(random, read)
    else checkDecoder(random, read)
  }
  return { bytes, run }
}

const generation = {
  ...{ do_sample: true, temperature: 0.7, top_k: 20, top_p: 0.9, min_p: 0.1, max_new_tokens: 100 },
  ...{ repetition_penalty: 1.1, stop_strings: ['###'], eos_token_id: [1, 2], num_beams: 1 },
}
const [integers, floats] = [
  { type: 'int', num_bits: 4, group_size: 32, strategy: 'group', symmetric: true, dynamic: false },
  { type: 'float', num_bits: 8, strategy: 'channel', symmetric: true, dynamic: true },
]
const quantizations = [
  { bits: 4, group_size: 128, desc_act: true, sym: true, checkpoint_format: 'gptq' },
  {
    ...{ quant_method: 'awq', bits: 4, group_size: 128, zero_point: true, version: 'gemm' },
    modules_to_not_convert: ['gate'],
  },
  { quant_method: 'fp8', activation_scheme: 'dynamic', fmt: 'e4m3', weight_block_size: [128, 128] },
  { quant_method: 'mxfp4', modules_to_not_convert: ['model.layers.*.self_attn'] },
  ...[integers, floats].map((weights) => ({
    ...{ quant_method: 'compressed-tensors', format: 'pack-quantized', ignore: ['lm_head'] },
    config_groups: { group_0: { weights, input_activations: null, targets: ['Linear'] } },
  })),
]
const settingWords =
  `awq gptq fp8 compressed-tensors mxfp4 bitsandbytes re:.*gate$ Linear e4m3 e5m2 dynamic static
  group channel tensor block int float actorder gemm gptq_v2 naive-quantized float-quantized stop_strings num_beams`.split(
    /\s+/,
  )

/** generation_config.json, and what says how matrices are stored. */
export function settings(random) {
  const isGeneration = random.rarely(2)
  const seed = isGeneration ? generation : random.of(quantizations)
  const changed = mutateJson(random, seed, settingWords)
  const bytes = Buffer.from(JSON.stringify(changed) ?? 'null')
  const run = () => {
    const value = JSON.parse(bytes)
    if (!isGeneration) return parseQuantization('config.json', value ?? undefined)
    // A file is an object, as readJson has it.
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return
    const { stop, unsupported, ...numbers } = checkpointDefaults(generationFile(value, {}))
    for (const number of Object.values(numbers))
      assert(number === undefined || Number.isFinite(number), 'numbers')
    assert(stop === undefined || stop.every((text) => typeof text === 'string' && text !== ''))
    assert(unsupported === undefined || typeof unsupported === 'string')
  }
  return { bytes, run }
}
