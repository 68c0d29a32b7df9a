import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type LoadProgress, loadModel } from '../../lib/index.ts'
import { describeModel } from '../../lib/models/index.ts'
import { copyCheckpoint, editJson, failure, readStored, writeStored } from '../support/files.ts'
import { fuseExperts } from '../support/fused.ts'
import { fixture, golden, maxDifference } from '../support/golden.ts'
import { testDevice } from '../support/use_model.ts'

type Edit = (json: any) => void
const options = { device: testDevice, dtype: 'f32', maxTokens: 128 } as const

/** Largest distance of a checkpoint's logits from those that a program of its own computed in float64. */
async function distance(folder: string, edit: Edit): Promise<number> {
  const dir = copyCheckpoint(fixture('real_files', folder))
  editJson(path.join(dir, 'config.json'), edit)
  const want = JSON.parse(readFileSync(path.join(dir, 'expect.json'), 'utf8'))
  await using model = await loadModel(dir, options)
  return maxDifference((await model.forward(want.ids)).logits, want.logits)
}

/** Takes the keys of both forms away, and puts others in their place. */
const withRope =
  (rope: object): Edit =>
  (json) => {
    delete json.rope_theta
    delete json.rope_parameters
    Object.assign(json, rope)
  }
const theta = { rope_theta: 10000 }
const plain = { rope_type: 'default', ...theta }

describe.each(['mixtral_4', 'mixtral_5'])('%s', (folder) => {
  it.each<[string, Edit]>([
    ['as it is saved', () => {}],
    ['rope_theta', withRope(theta)],
    ['rope_theta and rope_scaling: null', withRope({ ...theta, rope_scaling: null })],
    ['type: default', withRope({ ...theta, rope_scaling: { type: 'default' } })],
    ['rope_parameters', withRope({ rope_parameters: plain })],
    [
      'a rope_parameters for each kind of layer',
      withRope({ rope_parameters: { full_attention: plain } }),
    ],
    [
      'a kind of layer that it does not have',
      withRope({
        rope_parameters: { full_attention: plain, sliding_attention: { rope_type: 'yarn' } },
      }),
    ],
    ['rope_scaling with theta in it', withRope({ rope_scaling: plain })],
    ['a rope_theta from before', withRope({ rope_theta: 1e6, rope_parameters: plain })],
    ['architectures without model_type', (json) => delete json.model_type],
    ['sliding_window: 0', (json) => (json.sliding_window = 0)],
    ['no sliding_window', (json) => delete json.sliding_window],
    [
      'sliding_window and no use of it',
      (json) => Object.assign(json, { sliding_window: 0, use_sliding_window: false }),
    ],
    ['a window as long as the text', (json) => (json.sliding_window = 16)],
    ['num_experts', (json) => (json.num_experts = json.num_local_experts)],
    ['every layer named', (json) => (json.layer_types = ['full_attention', 'full_attention'])],
    [
      'both names of the element type',
      (json) => Object.assign(json, { dtype: 'bfloat16', torch_dtype: 'float16' }),
    ],
  ])('%s', async (_, edit) => expect(await distance(folder, edit)).toBeLessThan(2e-4))

  it.each<[string, Edit]>([
    ['another theta', withRope({ rope_parameters: { ...plain, rope_theta: 1e6 } })],
    ['a window', (json) => (json.sliding_window = 3)],
    ['the default theta', withRope({})],
  ])('%s is seen in the logits', async (_, edit) =>
    expect(await distance(folder, edit)).toBeGreaterThan(1e-2),
  )

  it.each<[string, Edit]>([
    ['rope_parameters', withRope({ rope_parameters: { ...plain, rope_type: 'yarn', factor: 4 } })],
    ['rope_scaling', withRope({ ...theta, rope_scaling: { type: 'linear', factor: 4 } })],
    [
      'use_sliding_window',
      (json) => Object.assign(json, { sliding_window: 4, use_sliding_window: false }),
    ],
    ['layer_types', (json) => (json.layer_types = ['full_attention', 'sliding_attention'])],
    ['num_experts', (json) => Object.assign(json, { num_local_experts: 4, num_experts: 2 })],
    ['attention_bias', (json) => (json.attention_bias = true)],
    ['norm_topk_prob', (json) => (json.norm_topk_prob = false)],
  ])('%s is refused by name', async (key, edit) => {
    const error = await failure(() => distance(folder, edit))
    expect(error).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
    expect(error.message).toContain(`config.json: ${key} must be `)
  })
})

describe('experts in one tensor', () => {
  it.each(['base-f32', 'top3-bf16', 'window-f32'])(
    '%s: golden logits and tokens',
    async (folder) => {
      const source = fixture('golden/mixtral', folder)
      const want = golden(`${source}/golden.safetensors`)
      const dir = copyCheckpoint(source)
      fuseExperts(dir)
      await using model = await loadModel(dir, { ...options, maxTokens: 256 })
      const { logits } = await model.forward(want.ids('prefill.input_ids'), { logits: 'all' })
      expect(maxDifference(logits, want.get('prefill.logits'))).toBeLessThan(2e-4)
      const { ids } = await model.generate(want.ids('generate.input_ids'), {
        maxNewTokens: 24,
        stopIds: [],
      })
      expect(ids).toEqual(want.ids('generate.tokens'))
    },
  )

  it('progress counts its bytes once', async () => {
    const totals = async (dir: string) => {
      const seen: LoadProgress[] = []
      const model = await loadModel(dir, { ...options, onProgress: (now) => seen.push(now) })
      await model.dispose()
      return [seen.at(-1)!.loadedBytes, ...new Set(seen.map(({ totalBytes }) => totalBytes))]
    }
    const dir = copyCheckpoint(fixture('golden/mixtral/base-f32'))
    const apart = await totals(dir)
    fuseExperts(dir)
    expect(await totals(dir)).toEqual(apart)
    expect(apart).toEqual([apart[0], apart[0]])
  })

  it.each<[string, (shape: number[]) => number[]]>([
    ['transposed', ([E, N, K]) => [E!, K!, N!]],
    ['one matrix', ([E, N, K]) => [E! * N!, K!]],
    ['too many experts', ([E, N, K]) => [E! * 2, N! / 2, K!]],
  ])('of another shape: %s', async (_, shape) => {
    const dir = copyCheckpoint(fixture('real_files/mixtral_5'))
    const file = path.join(dir, 'model.safetensors')
    const tensors = readStored(file)
    const name = 'model.layers.1.mlp.experts.gate_up_proj'
    const tensor = tensors.get(name)!
    const other = shape(tensor.shape)
    writeStored(file, tensors.set(name, { ...tensor, shape: other }))
    expect(await failure(() => loadModel(dir, options))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringContaining(
        `tensor ${name} must be [${tensor.shape.join(', ')}], got [${other.join(', ')}]`,
      ),
    })
  })

  it('without the other tensor', async () => {
    const dir = copyCheckpoint(fixture('real_files/mixtral_5'))
    const file = path.join(dir, 'model.safetensors')
    const tensors = readStored(file)
    tensors.delete('model.layers.0.mlp.experts.down_proj')
    writeStored(file, tensors)
    expect(await failure(() => loadModel(dir, options))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(
        /tensor model\.layers\.0\.mlp\.experts\.down_proj must be there/,
      ),
    })
  })
})

describe('published configurations, as they stand', () => {
  const common = { use_cache: true, initializer_range: 0.02, hidden_act: 'silu' }
  it('Mixtral 8x7B', () => {
    const { config } = describeModel({
      ...common,
      ...{ architectures: ['MixtralForCausalLM'], model_type: 'mixtral', attention_dropout: 0.0 },
      ...{ bos_token_id: 1, eos_token_id: 2, hidden_size: 4096, intermediate_size: 14336 },
      ...{ max_position_embeddings: 32768, num_attention_heads: 32, num_experts_per_tok: 2 },
      ...{ num_hidden_layers: 32, num_key_value_heads: 8, num_local_experts: 8, vocab_size: 32000 },
      ...{ output_router_logits: false, rms_norm_eps: 1e-5, rope_theta: 1000000.0 },
      ...{ router_aux_loss_coef: 0.02, sliding_window: null, tie_word_embeddings: false },
      ...{ torch_dtype: 'bfloat16', transformers_version: '4.36.0.dev0' },
    })
    expect(config).toMatchObject({ rope: { theta: 1e6 }, headSize: 128, slidingWindow: undefined })
  })
  it('Yuan 2.0-M32', () => {
    const { config } = describeModel({
      ...common,
      ...{ _name_or_path: '', architectures: ['YuanForCausalLM'], model_type: 'yuan', dropout: 0 },
      auto_map: {
        AutoConfig: 'configuration_yuan.YuanConfig',
        AutoModelForCausalLM: 'yuan_hf_model.YuanForCausalLM',
      },
      ...{ tokenizer_class: 'YuanTokenizer', rms_norm_eps: 1e-6, torch_dtype: 'bfloat16' },
      ...{ transformers_version: '4.30.2', causal_mask: true, use_flash_attention: true },
      ...{ reset_attention_mask: false, reset_position_ids: true, use_loss_mask: false },
      ...{ eod_token: 77185, sep_token: 77187, eod_token_id: 77185, sep_token_id: 77185 },
      ...{ pad_token_id: 77185, bos_token_id: 77185, eos_token_id: 77185, mask_token_id: 77185 },
      ...{ hidden_size: 2048, num_attention_heads: 16, attention_projection_size: 4096 },
      ...{ num_hidden_layers: 24, intermediate_size: 8192, vocab_size: 135040, use_moe: true },
      ...{ max_position_embeddings: 4096, model_max_length: 8192, output_router_logits: true },
      moe_config: {
        ...{ moe_num_experts: 32, moe_top_k: 2, ffn_hidden_size: 8192 },
        ...{ norm_topk_prob: true, gated_linear_unit: true },
      },
    })
    expect(config).toMatchObject({ rope: { theta: 10000 }, headSize: 256, eosIds: [77185] })
  })
  it('MoE++ 7B', () => {
    const { config } = describeModel({
      ...common,
      ...{
        architectures: ['MoeForCausalLM'],
        model_type: 'MoE++',
        bos_token_id: 1,
        eos_token_id: 2,
      },
      auto_map: {
        AutoConfig: 'configuration_moe_plus_plus.MoeConfig',
        AutoModelForCausalLM: 'modeling_moe_plus_plus.MoeForCausalLM',
      },
      ...{ hidden_size: 1536, intermediate_size: 4096, max_position_embeddings: 2048 },
      ...{ moe_2layer_gate: false, moe_expert_interval: 1, moe_feature_no_mul_topk: true },
      ...{ moe_gate_norm_std: 1.0, moe_use_logits_norm: true, moe_use_mixtral_gating: false },
      ...{ num_attention_heads: 16, num_experts: [20], num_hidden_layers: 24, pad_token_id: 0 },
      ...{ num_key_value_heads: 16, rms_norm_eps: 1e-6, rope_theta: 10000, rotary_percent: 1.0 },
      ...{ sliding_window: null, tie_word_embeddings: false, torch_dtype: 'bfloat16' },
      ...{ transformers_version: '4.33.1', vocab_size: 65536 },
    })
    expect(config).toMatchObject({
      rope: { theta: 10000 },
      headSize: 96,
      logitsNormStd: 1,
      inputScale: 1,
    })
  })
})
