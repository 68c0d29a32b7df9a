import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'

goldenFamily('hunyuan_v1_moe', ['base-bf16', 'bias-v5-f32'])

const read = (json: object) => describeModel({ ...familySamples.hunyuan_v1_moe!.base, ...json })

it('takes an alpha as a larger base, in both forms', () => {
  const theta = 500 * 8 ** (24 / 22)
  const alpha = { alpha: 8, factor: 1 }
  const two = [
    { rope_theta: 500, rope_scaling: { type: 'dynamic', ...alpha } },
    { rope_parameters: { rope_type: 'dynamic', rope_theta: 500, ...alpha } },
  ]
  for (const json of two) expect(read(json).config.rope).toEqual({ kind: 'default', theta })
})

it.each<[string, object, RegExp]>([
  ['dynamic without alpha', { rope_scaling: { type: 'dynamic', factor: 2 } }, /rope_scaling must/],
  [
    'a factor beside alpha',
    { rope_scaling: { type: 'dynamic', alpha: 2, factor: 2 } },
    /rope_scaling: factor must be 1, got 2/,
  ],
  [
    'a base beyond all',
    { rope_scaling: { type: 'dynamic', alpha: 1e6 }, rope_theta: 1e9 },
    /rope_scaling: alpha must be one that gives a base below 1e12/,
  ],
  [
    'YaRN, whose factor a norm would take away',
    { rope_scaling: { type: 'yarn', factor: 2 } },
    /yarn/,
  ],
  ['layers that differ', { moe_topk: [2, 3] }, /moe_topk must be a number, or a list of 2 times/],
  ['too short a list', { num_experts: [8] }, /num_experts must be a number, or a list of 2 times/],
])('refuses %s', async (_, json, message) => {
  const error = await failure(() => read(json))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toMatch(message)
})
