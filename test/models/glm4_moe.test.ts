import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'

goldenFamily('glm4_moe', ['base-f32', 'qknorm-groups-bf16', 'yarn-v5-f32'])

const read = (json: object) => describeModel({ ...familySamples.glm4_moe!.base, ...json }).config

it('has a part of heads from either place, and half where the file says none', () => {
  const inner = { rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.25 } }
  expect(read({}).rotaryDim).toBe(12)
  expect(read(inner).rotaryDim).toBe(6)
  expect(read({ ...inner, partial_rotary_factor: 0.25 }).rotaryDim).toBe(6)
  expect(read({ partial_rotary_factor: 1 }).rotaryDim).toBe(24)
})

it.each<[string, object, string, RegExp]>([
  [
    'two parts',
    { partial_rotary_factor: 0.5, rope_parameters: { partial_rotary_factor: 0.25 } },
    'ERR_MOE_UNSUPPORTED',
    /: partial_rotary_factor must be the same as in rope_parameters, 0.25, got 0.5/,
  ],
  [
    'an odd part',
    { partial_rotary_factor: 0.3 },
    'ERR_MOE_CHECKPOINT',
    /: partial_rotary_factor must be a part of heads of 24 that is even, and not 7 values, got 0.3/,
  ],
  [
    'more than a head',
    { rope_parameters: { partial_rotary_factor: 1.5 } },
    'ERR_MOE_CHECKPOINT',
    /: rope_parameters: partial_rotary_factor must be a number from 0 to 1, got 1.5/,
  ],
  ['no heads', { num_attention_heads: 0 }, 'ERR_MOE_CHECKPOINT', /num_attention_heads must be/],
])('refuses %s', async (_, json, code, message) => {
  const error = await failure(() => read(json))
  expect(error).toMatchObject({ name: 'MoeError', code })
  expect(error.message).toMatch(message)
})
