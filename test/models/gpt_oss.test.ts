import { describe, expect, it } from 'vitest'
import { loadModel, type Model } from '../../lib/index.ts'
import { describeModel } from '../../lib/models/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'
import { fixture, golden, maxDifference, rms } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'
import { useModel } from '../support/use_model.ts'

goldenFamily('gpt_oss', ['base-f32', 'bf16', 'mxfp4'])

describe('MXFP4 as the file has it, on the CPU', () => {
  const dir = fixture('golden/gpt_oss/mxfp4')
  const want = golden(`${dir}/golden.safetensors`)
  const [kept, unpacked] = [undefined, 'bf16' as const].map((weights) =>
    useModel(dir, { device: 'cpu', dtype: 'bf16', maxTokens: 512, weights }),
  )

  it('takes a quarter of the memory of bf16, and 17 bytes for 32 values', () => {
    const experts = ({ weights }: Model) => weights.filter(({ part }) => part === 'experts')
    const [[four], [sixteen]] = [experts(kept!()), experts(unpacked!())]
    expect(four!.format).toBe('mxfp4')
    expect(sixteen!.format).toBe('bf16')
    expect(four!.bytes * 64).toBe(sixteen!.bytes * 17)
  })

  it('loses no more with rows of integers than with rows of bf16', async () => {
    const { logits } = await kept!().forward(want.ids('prefill.input_ids'), { logits: 'all' })
    const exact = want.get('prefill.logits')
    const plain = await unpacked!().forward(want.ids('prefill.input_ids'), { logits: 'all' })
    expect(rms(logits, exact)).toBeGreaterThan(0)
    expect(rms(logits, exact)).toBeLessThan(rms(plain.logits, exact))
  })
})

it.runIf(simulated)('MXFP4 as the file has it loses nothing on a GPU', async () => {
  const dir = fixture('golden/gpt_oss/mxfp4')
  const want = golden(`${dir}/golden.safetensors`)
  const options = { device: 'cuda-sim', dtype: 'f32', maxTokens: 64 } as const
  await using kept = await loadModel(dir, options)
  expect(kept.weights.find(({ part }) => part === 'experts')!.format).toBe('mxfp4')
  const { logits } = await kept.forward(want.ids('prefill.input_ids'), { logits: 'all' })
  expect(maxDifference(logits, want.get('prefill.logits'))).toBeLessThan(2e-4)
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
