import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { failure } from '../support/files.ts'

type Case = [family: string, change: object, code: string, key: string]

const cases: Case[] = [
  ['deepseek_v2', { n_group: 3 }, 'ERR_MOE_CHECKPOINT', 'n_group'],
  ['deepseek_v2', { topk_group: 5 }, 'ERR_MOE_CHECKPOINT', 'topk_group'],
  ['deepseek_v2', { num_experts_per_tok: 5 }, 'ERR_MOE_CHECKPOINT', 'topk_group'],
  ['deepseek_v2', { num_experts_per_tok: 9 }, 'ERR_MOE_CHECKPOINT', 'num_experts_per_tok'],
  ['deepseek_v2', { topk_method: 'noaux_tc' }, 'ERR_MOE_UNSUPPORTED', 'topk_method'],
  ['deepseek_v2', { topk_method: null }, 'ERR_MOE_UNSUPPORTED', 'topk_method'],
  ['deepseek_v2', { n_routed_experts: null }, 'ERR_MOE_CHECKPOINT', 'n_routed_experts'],
  ['deepseek_v2', { qk_rope_head_dim: 7 }, 'ERR_MOE_CHECKPOINT', 'qk_rope_head_dim'],
  ['deepseek_v2', { kv_lora_rank: 1020 }, 'ERR_MOE_UNSUPPORTED', 'kv_lora_rank'],
  ['deepseek_v2', { rope_scaling: { type: 'dynamic' } }, 'ERR_MOE_UNSUPPORTED', 'rope_scaling'],
  ['deepseek_v3', { n_group: 8 }, 'ERR_MOE_CHECKPOINT', 'topk_group'],
  ['deepseek_v3', { n_group: 8, topk_group: 4 }, 'ERR_MOE_CHECKPOINT', 'n_group'],
  ['deepseek_v3', { n_group: 5 }, 'ERR_MOE_CHECKPOINT', 'n_group'],
  ['deepseek_v3', { num_key_value_heads: 1 }, 'ERR_MOE_UNSUPPORTED', 'num_key_value_heads'],
  ['longcat_flash', { moe_topk: 9 }, 'ERR_MOE_CHECKPOINT', 'moe_topk'],
  ['longcat_flash', { zero_expert_num: 1024 }, 'ERR_MOE_CHECKPOINT', 'zero_expert_num'],
]

it.each(cases)('%s with %j is refused by name', async (family, change, code, key) => {
  const json = { ...familySamples[family]!.base, ...change }
  const error = await failure(() => describeModel(json))
  expect(error).toMatchObject({ name: 'MoeError', code })
  expect(error.message).toContain(`config.json: ${key} must be `)
})

it('heads of any number and keys of any size need not divide the hidden size', () => {
  const change = { hidden_size: 65, num_attention_heads: 4, num_key_value_heads: 4 }
  for (const family of ['deepseek_v2', 'deepseek_v3', 'longcat_flash']) {
    const json = { ...familySamples[family]!.base, ...change, qk_nope_head_dim: 5 }
    const { rotaryDim, headSize } = describeModel(json).config
    expect(headSize).toBe(5 + rotaryDim)
  }
})

it('absent and null ranks of queries differ, as in the published classes', () => {
  const base = familySamples.deepseek_v2!.base
  const rank = (q_lora_rank: unknown) =>
    (describeModel({ ...base, q_lora_rank }).config as { queryRank?: number }).queryRank
  expect([rank(undefined), rank(null), rank(24)]).toEqual([1536, undefined, 24])
})
