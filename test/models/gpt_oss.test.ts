import { describe, expect, it } from 'vitest'
import type { Model } from '../../lib/index.ts'
import { describeModel } from '../../lib/models/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'
import { fixture, golden, rms } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

goldenFamily('gpt_oss', ['base-f32', 'bf16'])
goldenFamily('gpt_oss', ['mxfp4'], 2e-4, { weights: 'bf16' }) // exact: bf16 holds MXFP4

describe('MXFP4 as the file has it, on the CPU', () => {
  const dir = fixture('golden/gpt_oss/mxfp4')
  const want = golden(`${dir}/golden.safetensors`)
  const [kept, unpacked] = [undefined, 'bf16' as const].map((weights) =>
    useModel(dir, { device: 'cpu', maxTokens: 512, weights }),
  )

  it('takes a quarter of the memory of bf16, and 17 bytes for 32 values', () => {
    const experts = ({ weights }: Model) => weights.filter(({ part }) => part === 'experts')
    const [[four], [sixteen]] = [experts(kept!()), experts(unpacked!())]
    expect(four!.format).toBe('mxfp4')
    expect(sixteen!.format).toBe('bf16')
    expect(four!.bytes * 64).toBe(sixteen!.bytes * 17)
  })

  it('differs by what rows lose as integers: as much as bf16 activations cost', async () => {
    const { logits } = await kept!().forward(want.ids('prefill.input_ids'), { logits: 'all' })
    const exact = want.get('prefill.logits')
    const error = rms(logits, exact)
    expect(error).toBeGreaterThan(0)
    expect(error / rms(exact, new Float64Array(exact.length))).toBeLessThan(0.04)
    // The README: the smallest margin of a token is 0.042, and the published code in bf16 errs by 0.041.
    const tokens = want.ids('generate.tokens')
    const options = { maxNewTokens: 16, stopIds: [] }
    const { ids } = await kept!().generate(want.ids('generate.input_ids'), options)
    expect(ids).toEqual(tokens.slice(0, 16))
  })
})

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
