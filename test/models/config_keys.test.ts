import { describe, expect, it } from 'vitest'
import { commonKeys } from '../../lib/models/config_keys.ts'
import { describeModel, families } from '../../lib/models/index.ts'
import { failure } from '../support/files.ts'

type Json = Record<string, unknown>

interface Samples {
  base: Json
  /** Another value for each used key, or a whole change; it changes the result. */
  used: Record<string, unknown>
  /** Used keys that may only agree with another one: a value that does not. */
  agreeing?: Record<string, unknown>
}

const bounds = { vocab_size: 300, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4 }
const rope = {
  rope_theta: 5e5,
  rope_parameters: { rope_type: 'default', rope_theta: 5e5 },
  rope_scaling: { rope_type: 'default', rope_theta: 5e5 },
}
const samples: Record<string, Samples> = {
  yuan: {
    base: {
      ...{ ...bounds, model_type: 'yuan', eos_token_id: 8 },
      ...{ reset_attention_mask: true, reset_position_ids: true, eod_token: 7 },
      moe_config: { moe_num_experts: 8, moe_top_k: 2, ffn_hidden_size: 32 },
    },
    used: {
      ...{ vocab_size: 301, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 },
      ...{ attention_projection_size: 128, rms_norm_eps: 1e-5, max_position_embeddings: 128 },
      ...{ tie_word_embeddings: false, eod_token: 9, use_flash_attention: true },
      ...{ reset_attention_mask: false, reset_position_ids: false, rotary_base: 5e5, ...rope },
      moe_config: { moe_num_experts: 9, moe_top_k: 2, ffn_hidden_size: 32 },
      // Where there is no eod_token.
      eos_token_id: { eod_token: null, eos_token_id: 9 },
    },
    agreeing: { num_key_value_heads: 2 },
  },
  'MoE++': {
    base: { ...bounds, model_type: 'MoE++', moe_use_logits_norm: true },
    used: {
      ...{ vocab_size: 301, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 },
      ...{ intermediate_size: 96, num_key_value_heads: 2, max_position_embeddings: 128 },
      ...{ rms_norm_eps: 1e-5, tie_word_embeddings: true, bos_token_id: 5, eos_token_id: 5 },
      ...{ num_experts: [12], moe_use_mixtral_gating: true, moe_2layer_gate: false },
      ...{ moe_use_logits_norm: false, moe_gate_norm_std: 2, moe_feature_no_mul_topk: true },
      ...rope,
    },
  },
  mixtral: {
    base: { ...bounds, model_type: 'mixtral', intermediate_size: 96, sliding_window: 16 },
    used: {
      ...{ vocab_size: 301, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 },
      ...{ intermediate_size: 64, num_key_value_heads: 2, head_dim: 32, rms_norm_eps: 1e-6 },
      ...{ max_position_embeddings: 128, sliding_window: 17, num_experts_per_tok: 3 },
      ...{ num_local_experts: 4, num_experts: 4, tie_word_embeddings: true },
      ...{ bos_token_id: 5, eos_token_id: [5, 6], ...rope },
    },
    agreeing: { use_sliding_window: false, layer_types: ['full_attention', 'full_attention'] },
  },
  llama_moe: {
    base: {
      ...{ ...bounds, model_type: 'llama_moe', intermediate_size: 96, num_experts: 8 },
      eos_token_id: 2,
    },
    used: {
      ...{ vocab_size: 301, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 },
      ...{ intermediate_size: 64, num_key_value_heads: 2, rms_norm_eps: 1e-5, num_selects: 3 },
      ...{ max_position_embeddings: 128, tie_word_embeddings: true, num_experts: 6 },
      ...{ bos_token_id: 5, eos_token_id: [5, 6], gate_network: 'linear', ...rope },
      ...{ gate_use_softmax: false, score_scale_factor: [2, 3] },
      size_experts: [Array(8).fill(12), [...Array(7).fill(12), 8]],
    },
  },
}

const read = (json: Json) => describeModel(json).config

/** A change of some keys, or of the one key. */
const changed = (base: Json, key: string, value: unknown): Json =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? { ...base, ...value }
    : { ...base, [key]: value }

async function refused(json: Json, key: string): Promise<void> {
  const error = await failure(() => read(json))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toContain(`config.json: ${key} must be `)
}

it('every architecture has samples', () => {
  expect(Object.keys(samples)).toEqual(Object.keys(families))
})

describe.each(Object.entries(samples))('keys of %s', (type, { base, used, agreeing = {} }) => {
  const { keys } = families[type]!
  const ignored = [keys, commonKeys].flatMap((table) => Object.values(table.ignored ?? {}).flat())
  const known = new Set([...keys.used, ...commonKeys.used, ...ignored])
  const only = { ...commonKeys.only, ...keys.only }

  it('no key is in two lists of its table', () => {
    for (const table of [keys, commonKeys]) {
      const all = [...table.used, ...Object.keys(table.only ?? {})]
      all.push(...Object.values(table.ignored ?? {}).flat())
      expect(all.filter((key, i) => all.indexOf(key) !== i)).toEqual([])
    }
    expect(Object.keys(only).filter((key) => known.has(key))).toEqual([])
  })

  it('every used key has a sample', () => {
    const sampled = [...Object.keys(used), ...Object.keys(agreeing)]
    expect(sampled.sort()).toEqual([...keys.used].sort())
  })

  it.each(Object.entries(used))('%s is used', (key, value) => {
    expect(read(changed(base, key, value))).not.toEqual(read(base))
  })

  it.each(Object.entries(agreeing))('%s has to agree', (key, value) =>
    refused({ ...base, [key]: value }, key),
  )

  it.each(Object.entries(only))(
    '%s is refused but for values that change nothing',
    async (key, values) => {
      for (const value of [...values, null])
        expect(read({ ...base, [key]: value })).toEqual(read(base))
      for (const value of [true, false, 3, 'gelu', [1], { a: 1 }])
        if (!values.includes(value)) await refused({ ...base, [key]: value }, key)
    },
  )

  it.each(ignored)('%s changes nothing', (key) => {
    if ((keys.used as readonly string[]).includes(key)) return
    for (const value of [true, 0.5, 7, 'x', [1], { a: 1 }, null])
      expect(read({ ...base, [key]: value })).toEqual(read(base))
  })

  const misspelt = (key: string): string[] => [
    `${key}s`,
    `_${key}`,
    key.slice(1),
    key.slice(0, -1),
    key.replaceAll('_', ''),
    key.replaceAll('_', '-'),
    key.toUpperCase(),
  ]
  it('a misspelt key is refused by name', async () => {
    const all = new Set([...known, ...Object.keys(only)])
    const names = [...all].flatMap(misspelt).filter((name) => !all.has(name) && name !== '')
    expect(names.length).toBeGreaterThan(500)
    for (const name of names) await refused({ ...base, [name]: 1 }, name)
  })

  it('names that every object has are keys like others', async () => {
    for (const name of ['constructor', 'toString', 'hasOwnProperty'])
      await refused({ ...base, [name]: 1 }, name)
    await refused(
      JSON.parse(JSON.stringify({ ...base, x: 1 }).replace('"x"', '"__proto__"')),
      '__proto__',
    )
  })

  it('an unknown key that is null is as good as absent', () => {
    expect(read({ ...base, logits_scaling: null })).toEqual(read(base))
  })

  it('the published class stands for model_type', () => {
    const { model_type: _, ...rest } = base
    const architectures = [families[type]!.name]
    expect(read({ ...rest, architectures })).toEqual(read(base))
    expect(read({ ...base, architectures: ['Other'] })).toEqual(read(base))
  })
})

it('keys inside moe_config are known ones, too', async () => {
  const { base } = samples.yuan!
  const moe = base.moe_config as Json
  const used = { moe_num_experts: 9, moe_top_k: 3, ffn_hidden_size: 16 }
  const flags = { norm_topk_prob: false, gated_linear_unit: false }
  for (const [key, value] of Object.entries({ ...used, ...flags }))
    expect(read({ ...base, moe_config: { ...moe, [key]: value } })).not.toEqual(read(base))
  for (const [key, value] of Object.entries({ moe_topk: 2, per_layer_experts_blocks: [1] })) {
    const error = await failure(() => read({ ...base, moe_config: { ...moe, [key]: value } }))
    expect(error).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
    expect(error.message).toContain(`config.json: moe_config: ${key} must be `)
  }
})

it.each([
  ['a class of nobody here', { architectures: ['LlamaForCausalLM'] }],
  [
    'a class beside a model_type of nobody here',
    { model_type: 'llama', architectures: ['MixtralForCausalLM'] },
  ],
  ['no list', { architectures: 'MixtralForCausalLM' }],
])('architectures: %s', async (_, json) => {
  const { model_type: __, ...rest } = samples.mixtral!.base
  await refused({ ...rest, ...json }, 'model_type')
})
