import { describe, expect, it } from 'vitest'
import { ConfigReader } from '../../lib/models/config.ts'
import { describeModel } from '../../lib/models/index.ts'
import { type RopeKind, readRope } from '../../lib/models/rope.ts'
import { failure } from '../support/files.ts'

const kinds: RopeKind[] = ['default', 'linear', 'ntk', 'llama3', 'yarn', 'longrope']
const rope = (json: Record<string, unknown>, layerType?: string) =>
  readRope(new ConfigReader(json), {
    ...{ theta: 1e6, kinds, maxPositions: 4096 },
    ...(layerType === undefined ? {} : { layerType }),
  })

describe('theta, in both forms', () => {
  it.each<[string, Record<string, unknown>, number]>([
    ['absent', {}, 1e6],
    ['null', { rope_theta: null, rope_scaling: null, rope_parameters: null }, 1e6],
    ['rope_theta', { rope_theta: 10000 }, 10000],
    ['rope_parameters', { rope_parameters: { rope_type: 'default', rope_theta: 10000 } }, 10000],
    ['rope_parameters without type', { rope_parameters: { rope_theta: 10000 } }, 10000],
    [
      'rope_scaling of transformers 5',
      { rope_scaling: { rope_type: 'default', rope_theta: 5 } },
      5,
    ],
    ['rope_parameters over rope_theta', { rope_theta: 7, rope_parameters: { rope_theta: 5 } }, 5],
    ['rope_theta beside rope_parameters without', { rope_theta: 7, rope_parameters: {} }, 7],
    ['type: default', { rope_theta: 7, rope_scaling: { type: 'default' } }, 7],
    [
      'both, equal',
      {
        rope_scaling: { type: 'default', rope_theta: 5 },
        rope_parameters: { type: 'default', rope_theta: 5 },
      },
      5,
    ],
  ])('%s', (_, json, theta) => expect(rope(json)).toEqual({ kind: 'default', theta }))

  it('one object for each kind of layer', () => {
    const rope_parameters = {
      full_attention: { rope_type: 'linear', rope_theta: 5, factor: 2 },
      sliding_attention: { rope_type: 'default', rope_theta: 7 },
    }
    expect(rope({ rope_parameters })).toEqual({ kind: 'linear', theta: 5, factor: 2 })
    expect(rope({ rope_parameters }, 'sliding_attention')).toEqual({ kind: 'default', theta: 7 })
  })
})

describe('scalings', () => {
  const scaled = (scaling: Record<string, unknown>) =>
    rope({ rope_theta: 10000, rope_scaling: scaling })
  it('linear and ntk', () => {
    for (const kind of ['linear', 'ntk'])
      for (const name of ['type', 'rope_type'])
        expect(scaled({ [name]: kind, factor: 4 })).toEqual({ kind, theta: 10000, factor: 4 })
  })
  it('llama3', () => {
    expect(
      scaled({
        ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
        original_max_position_embeddings: 8192,
      }),
    ).toEqual({ kind: 'llama3', theta: 10000, factor: 8, low: 1, high: 4, original: 8192 })
  })
  it('yarn: factor of cosines as the reference has it', () => {
    const yarn = { rope_type: 'yarn', factor: 40, original_max_position_embeddings: 1024 }
    expect(scaled(yarn)).toEqual({
      ...{ kind: 'yarn', theta: 10000, factor: 40, original: 1024, fast: 32, slow: 1 },
      ...{ truncate: true, attention: 0.1 * Math.log(40) + 1, mscaleAllDim: 0 },
    })
    const given = { beta_fast: 4, beta_slow: 2, truncate: false, attention_factor: 1.5 }
    expect(scaled({ ...yarn, ...given })).toMatchObject({
      fast: 4,
      slow: 2,
      truncate: false,
      attention: 1.5,
    })
    const both = scaled({ ...yarn, mscale: 1, mscale_all_dim: 0.5 })
    expect(both).toMatchObject({ mscaleAllDim: 0.5 })
    expect((both as any).attention).toBeCloseTo(1.3688879454113936 / 1.1844439727056968, 12)
  })
  it('yarn: 0 turns are as none said', () => {
    const none = { beta_fast: 0, beta_slow: 0 }
    expect(scaled({ type: 'yarn', factor: 2, ...none })).toMatchObject({ fast: 32, slow: 1 })
  })
  it('yarn without a factor: as much longer as the file says', () => {
    const yarn = { type: 'yarn', original_max_position_embeddings: 1024 }
    expect(scaled(yarn)).toMatchObject({ factor: 4, original: 1024 })
  })
  it('longrope', () => {
    const lists = { short_factor: [1, 1.5], long_factor: [2, 4] }
    const long = { type: 'longrope', ...lists, original_max_position_embeddings: 1024 }
    const common = Math.sqrt(1 + Math.log(4) / Math.log(1024))
    expect(scaled(long)).toEqual({
      ...{ kind: 'longrope', theta: 10000, original: 1024, short: [1, 1.5], long: [2, 4] },
      ...{ shortAttention: common, longAttention: common },
    })
    expect(scaled({ ...long, short_mscale: 1, long_mscale: 1.25 })).toMatchObject({
      ...{ shortAttention: 1, longAttention: 1.25 },
    })
  })
})

describe('what is refused', () => {
  const linear = { rope_type: 'linear', factor: 2 }
  it.each<[string, Record<string, unknown>, string, RegExp]>([
    [
      'an unknown kind',
      { rope_scaling: { type: 'mrope' } },
      'ERR_MOE_UNSUPPORTED',
      /rope_scaling must be null or of type "default", .* or "longrope", got/,
    ],
    [
      'a kind that is no text',
      { rope_parameters: { rope_type: 5 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters must be null or of type/,
    ],
    [
      'two kinds at once',
      { rope_parameters: { rope_type: 'default', type: 'yarn' } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters must be/,
    ],
    [
      'a key of another kind',
      { rope_parameters: { rope_type: 'default', factor: 4 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters: factor must be a key whose effect is known, got 4/,
    ],
    [
      'part of a head',
      { rope_parameters: { partial_rotary_factor: 0.5 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters: partial_rotary_factor must be 1, got 0.5/,
    ],
    [
      'two forms that differ',
      { rope_scaling: linear, rope_parameters: { ...linear, factor: 4 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_scaling must be absent beside rope_parameters/,
    ],
    [
      'other kinds of layers',
      { rope_parameters: { sliding_attention: linear } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters must be an object that has full_attention/,
    ],
    [
      'a layer that has an unknown kind',
      { rope_parameters: { full_attention: { rope_type: 'x' } } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters must be null or of type/,
    ],
    [
      'layers beside theta',
      { rope_parameters: { full_attention: linear, rope_theta: 5 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_parameters: full_attention must be a key/,
    ],
    [
      'a list',
      { rope_scaling: [2] },
      'ERR_MOE_CHECKPOINT',
      /rope_scaling must be an object, got \[2\]/,
    ],
    [
      'no factor',
      { rope_scaling: { type: 'linear' } },
      'ERR_MOE_CHECKPOINT',
      /rope_scaling: factor must be a number from 1 to/,
    ],
    [
      'a factor below 1',
      { rope_scaling: { type: 'linear', factor: 0.5 } },
      'ERR_MOE_CHECKPOINT',
      /factor/,
    ],
    [
      'a theta below 1',
      { rope_theta: 1e-308 },
      'ERR_MOE_CHECKPOINT',
      /rope_theta must be a number from 1 to/,
    ],
    [
      'a theta of 1, whose pairs all turn alike',
      { rope_theta: 1, rope_scaling: { type: 'yarn', factor: 2 } },
      'ERR_MOE_CHECKPOINT',
      /rope_scaling: rope_theta must be above 1/,
    ],
    [
      'a theta in quotes',
      { rope_parameters: { rope_theta: '10000' } },
      'ERR_MOE_CHECKPOINT',
      /rope_parameters: rope_theta must be a number .* got "10000"/,
    ],
  ])('%s', async (_, json, code, message) => {
    const error = await failure(() => rope(json))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })

  const bounds = { vocab_size: 64, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2 }
  const bases = {
    mixtral: { ...bounds, model_type: 'mixtral', intermediate_size: 16 },
    'MoE++': { ...bounds, model_type: 'MoE++' },
    yuan: {
      ...bounds,
      model_type: 'yuan',
      moe_config: { moe_num_experts: 4, ffn_hidden_size: 16 },
    },
  }
  const factors = { factor: 4, original_max_position_embeddings: 128 }
  it.each(['linear', 'ntk', 'dynamic', 'yarn', 'llama3', 'longrope', 'su', 'mrope'])(
    'a family refuses what it does not define: %s',
    async (kind) => {
      for (const [type, base] of Object.entries(bases))
        for (const name of ['rope_type', 'type'])
          for (const key of ['rope_scaling', 'rope_parameters']) {
            if (type === 'MoE++' && ['linear', 'ntk'].includes(kind)) continue
            const error = await failure(() =>
              describeModel({ ...base, [key]: { [name]: kind, ...factors } }),
            )
            expect(error).toMatchObject({ code: 'ERR_MOE_UNSUPPORTED' })
            expect(error.message).toContain(`config.json: ${key} must be null or of type "default"`)
          }
    },
  )

  it('MoE++ has its own linear and ntk, in both forms', () => {
    const config = (json: object) => describeModel({ ...bases['MoE++'], ...json }).config
    for (const key of ['rope_scaling', 'rope_parameters'])
      for (const name of ['type', 'rope_type']) {
        const of = (kind: string) => config({ [key]: { [name]: kind, factor: 4 } })
        expect(of('linear').rope).toEqual({ kind: 'linear', theta: 10000, factor: 4 })
        expect(of('ntk').rope).toEqual({ kind: 'ntk', theta: 10000, factor: 4 })
      }
  })

  it('Yuan has one base under whatever name', async () => {
    const same = describeModel({ ...bases.yuan, rotary_base: 500, rope_theta: 500 })
    expect(same.config.rope.theta).toBe(500)
    const json = { ...bases.yuan, rotary_base: 500, rope_parameters: { rope_theta: 600 } }
    expect(await failure(() => describeModel(json))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: 'config.json: rotary_base must be the same as rope_theta, 600, got 500',
    })
  })
})
