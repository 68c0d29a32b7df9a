import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel, randomModel } from '../../lib/index.ts'
import { limits } from '../../lib/models/config.ts'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import type { FamilySamples } from '../support/families/samples.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

const bounds = { vocab_size: 64, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2 }
const moe_config = { moe_num_experts: 4, moe_top_k: 2, ffn_hidden_size: 16 }
const bases = {
  yuan: { ...bounds, model_type: 'yuan', moe_config },
  'MoE++': { ...bounds, model_type: 'MoE++', moe_use_logits_norm: true },
  mixtral: { ...bounds, model_type: 'mixtral', intermediate_size: 16 },
}
const hostile: unknown[] = [
  ...[2 ** 53 - 1, 2 ** 53, 2 ** 40, 1e308, Number.POSITIVE_INFINITY, -1, -(2 ** 53), -1e308],
  ...[1e-308, Number.NaN, '4', '', true, [], [4], {}, { toString: 1 }],
]

/** Whole numbers and others that a family's table has. */
const numbers = ({ base, used, agreeing }: FamilySamples): string[] => {
  const ids = ['bos_token_id', 'eos_token_id', 'eod_token']
  const all = { ...base, ...used, ...agreeing }
  return Object.keys(all).filter((key) => typeof all[key] === 'number' && !ids.includes(key))
}
/** Factors of weights may be as small as they like. */
const mayVanish = ['routed_scaling_factor', 'score_scale_factor', 'router_jitter_noise']
/** -1 is the last. */
const mayBeLast = ['moe_layer_end_index']

describe.each(Object.entries(familySamples))('numbers of %s', (_, samples) => {
  it.each(numbers(samples))('%s is bounded before it is used', async (key) => {
    for (const value of hostile) {
      if (value === 1e-308 && mayVanish.includes(key)) continue
      if (value === -1 && mayBeLast.includes(key)) continue
      const error = await failure(() => describeModel({ ...samples.base, [key]: value }))
      expect([value, error.name]).toEqual([value, 'MoeError'])
      expect(error.message).toMatch(/^config\.json: \w+ must be /)
    }
  })
})

describe.each(Object.entries(bases))('ids of %s', (type, base) => {
  it('ids are of the vocabulary', async () => {
    for (const key of ['eos_token_id', ...(type === 'yuan' ? ['eod_token'] : ['bos_token_id'])]) {
      for (const value of [64, 999999, -1, 0.5, '3', true, {}, [3, 64], [[3]], [null]]) {
        const error = await failure(() => describeModel({ ...base, [key]: value }))
        expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
        expect(error.message).toContain(`config.json: ${key} must be a token id from 0 to 63 or`)
      }
      for (const value of [0, 63, [0, 63], [], null]) describeModel({ ...base, [key]: value })
    }
  })
})

it.each([2 ** 53 - 1, 2 ** 28, 4, 0, -20, 20.5, '20', null])(
  'MoE++: num_experts of [%s] is refused',
  async (count) => {
    const json = { ...bases['MoE++'], num_experts: [count] }
    const error = await failure(() => describeModel(json))
    expect(error).toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(
      /num_experts must be a list whose first number, .* from 5 to 1024/,
    )
  },
)

it('MoE++: layers of different numbers of experts are refused', async () => {
  const json = { ...bases['MoE++'], num_experts: [20, 12] }
  expect(await failure(() => describeModel(json))).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
  expect(describeModel({ ...json, num_experts: [20, 20] }).config.experts).toHaveLength(20)
})

it('experts of all layers are bounded, too', async () => {
  const json = {
    ...bases.mixtral,
    num_hidden_layers: limits.count,
    num_local_experts: limits.count,
  }
  expect(await failure(() => randomModel(json))).toMatchObject({
    code: 'ERR_MOE_UNSUPPORTED',
    message: 'config.json: num_hidden_layers must be at most 64 for 1024 experts, got 1024',
  })
})

it.each<[keyof typeof bases, number | undefined, number[]]>([
  ['MoE++', 1, [2]],
  ['mixtral', undefined, []],
])('ids of %s that are absent, null, or beyond the vocabulary', (type, bosId, eosIds) => {
  const ids = (json: object) => {
    const { config } = describeModel({ ...bases[type], ...json })
    return { bosId: config.bosId, eosIds: config.eosIds }
  }
  expect(ids({})).toEqual({ bosId, eosIds })
  expect(ids({ bos_token_id: null, eos_token_id: null })).toEqual({ bosId: undefined, eosIds: [] })
  expect(ids({ vocab_size: 1 })).toEqual({ bosId: undefined, eosIds: [] })
})

describe('generation_config.json', () => {
  const load = (json: unknown) => {
    const dir = copyCheckpoint(fixture('golden/moepp/base-f32'))
    writeFileSync(path.join(dir, 'generation_config.json'), JSON.stringify(json))
    return loadModel(dir, { device: 'cpu', maxTokens: 32 })
  }

  it.each([999999, [2, 128], -1, 2.5, '2'])('eos_token_id of %j is refused', async (id) => {
    const error = await failure(() => load({ eos_token_id: id }))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toContain(
      'generation_config.json: eos_token_id must be a token id from 0',
    )
  })

  it.each([2, [2, 127], null])('eos_token_id of %j is taken', async (id) => {
    await using model = await load({ eos_token_id: id, pad_token_id: -1 })
    expect(model.config.eosIds).toEqual([2])
  })
})

it('an eos_token_id beyond the vocabulary is refused when a checkpoint is loaded', async () => {
  const dir = copyCheckpoint(fixture('golden/mixtral/base-f32'))
  editJson(path.join(dir, 'config.json'), (json) => (json.eos_token_id = 128))
  expect(await failure(() => loadModel(dir, { device: 'cpu', maxTokens: 32 }))).toMatchObject({
    code: 'ERR_MOE_CHECKPOINT',
    message: expect.stringContaining('config.json: eos_token_id must be a token id from 0 to 127'),
  })
})
