import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'

goldenFamily('gpt_oss', ['base-f32', 'bf16', 'mxfp4'])

const base = {
  ...{ model_type: 'gpt_oss', vocab_size: 300, hidden_size: 64, num_hidden_layers: 3 },
  ...{ num_attention_heads: 8, num_local_experts: 8 },
}
const read = (json: object) => describeModel({ ...base, ...json }).config

it('has the class defaults: a window in every second layer, YaRN that is not truncated', () => {
  expect(read({})).toMatchObject({
    ...{ headSize: 64, numKeyValueHeads: 8, expertSize: 2880, topK: 4, slidingWindow: 128 },
    layerTypes: ['sliding_attention', 'full_attention', 'sliding_attention'],
    rope: { kind: 'yarn', theta: 150000, factor: 32, truncate: false, original: 4096 },
  })
  expect(read({ rope_scaling: { rope_type: 'default' } }).rope).toEqual({
    ...{ kind: 'default', theta: 150000 },
  })
})

it.each<[string, object, RegExp]>([
  [
    'another kind of layer',
    { layer_types: ['chunked_attention', 'x', 'x'] },
    /layer_types must be a list of 3 times sliding_attention or full_attention/,
  ],
  [
    'layers of another number',
    { layer_types: ['full_attention'] },
    /layer_types must be a list of 3/,
  ],
  [
    'experts of two numbers',
    { experts_per_token: 3 },
    /experts_per_token must be the same as num_experts_per_tok, 4/,
  ],
  [
    'a rotation it has not',
    { rope_scaling: { rope_type: 'dynamic', factor: 2 } },
    /rope_scaling must be null or of type/,
  ],
])('refuses %s', async (_, json, message) => {
  const error = await failure(() => read(json))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toMatch(message)
})
