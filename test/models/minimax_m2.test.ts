import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'

goldenFamily('minimax_m2', ['base-fp8', 'v5-f32'])

const read = (json: object) => describeModel({ ...familySamples.minimax_m2!.base, ...json }).config

it('has the rotated part under each of its names, and half of a head without one', () => {
  const inner = { rope_parameters: { rope_theta: 5, partial_rotary_factor: 0.25 } }
  const rotated = (json: object) => read({ rotary_dim: null, ...json }).rotaryDim
  expect(rotated({})).toBe(12)
  expect(rotated({ rotary_dim: 6 })).toBe(6)
  expect(rotated({ partial_rotary_factor: 0.25 })).toBe(6)
  expect(rotated(inner)).toBe(6)
  expect(rotated({ ...inner, rotary_dim: 6, partial_rotary_factor: 0.25 })).toBe(6)
})

it.each<[string, object, RegExp]>([
  [
    'parts that differ',
    { partial_rotary_factor: 0.25, rotary_dim: 12 },
    /: rotary_dim must be partial_rotary_factor of head_dim, 6, got 12/,
  ],
  ['linear attention', { attn_type_list: [1, 0] }, /: attn_type_list must be a list of 2 times 1/],
  ['another number of kinds', { attn_type_list: [1] }, /: attn_type_list must be a list of 2/],
  [
    'shared experts',
    { shared_intermediate_size: 8 },
    /: shared_intermediate_size must be 0, got 8/,
  ],
])('refuses %s', async (_, json, message) => {
  const error = await failure(() => read(json))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toMatch(message)
})
