import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { capacityOf, readVisionConfig } from '../../lib/vision/config.ts'
import type { Json } from '../../lib/weights/json.ts'
import { fixture } from '../support/golden.ts'

const read = (folder: string): Json =>
  JSON.parse(readFileSync(fixture('golden/vision', folder, 'config.json'), 'utf8'))

/** The configuration with a value elsewhere, by its path. */
function changed(folder: string, path: string, value: unknown): Json {
  const json = read(folder)
  const keys = path.split('.')
  const last = keys.pop()!
  const at = keys.reduce((object, key) => object[key] as Json, json)
  at[last] = value
  return json
}

describe('configurations of vision transformers', () => {
  it.each([
    [{ factor: 1.05, rounding: 'ceil', multipleOf: 1 }, 68, 4, 18],
    [{ factor: 4, rounding: 'ceil', multipleOf: 4 }, 34, 8, 20],
    [{ factor: 1, rounding: 'round', multipleOf: 1 }, 10, 4, 2], // halves go to the even number
    [{ factor: 1, rounding: 'round', multipleOf: 1 }, 14, 4, 4],
    [{ factor: 0.001, rounding: 'round', multipleOf: 1 }, 10, 4, 1],
    [{ tokens: 7, factor: 1, rounding: 'ceil', multipleOf: 4 }, 10, 4, 7],
  ] as const)('capacity %j of %i choices, %i experts: %i', (capacity, choices, experts, want) =>
    expect(capacityOf(capacity, choices, experts)).toBe(want),
  )

  it('slots of Soft MoE come from the factor where there is no number', () => {
    expect(readVisionConfig(read('capacity-map-f32')).moe!.router).toEqual({
      kind: 'soft',
      slots: 4,
    })
    expect(readVisionConfig(read('slots1-gap-f32')).moe!.router).toEqual({ kind: 'soft', slots: 1 })
  })

  // Table 5 of arXiv:2308.00951, and its baseline, as projects/soft_moe of google-research/vmoe has them.
  it.each([
    [
      { name: 'SoftRouter', num_slots: 1, capacity_factor: null, compute_similarity_metrics: true },
      { kind: 'soft', slots: 1 },
    ],
    [
      {
        ...{ name: 'NoisyTopItemsPerExpertRouter', noise_std: 1 },
        dispatcher: {
          ...{
            name: 'einsum',
            bfloat16: true,
            capacity_factor: 1,
            capacity_ceil_or_round: 'round',
          },
          ...{ capacity_multiple_of: 0, partition_spec: [['expert', 'replica']] },
        },
      },
      {
        kind: 'experts',
        capacity: { tokens: undefined, factor: 1, rounding: 'round', multipleOf: 1 },
      },
    ],
  ])('published configurations of S/16: %j', (router, want) => {
    const layers = [6, 7, 8, 9, 10, 11]
    const partition = [['expert', 'replica']]
    const config = readVisionConfig({
      ...{ model_type: 'soft_moe', name: 'VisionTransformerMoe' },
      ...{ image_size: [224, 224], num_channels: 3 },
      ...{ num_classes: 29593, patch_size: [16, 16], hidden_size: 384, classifier: 'gap' },
      head_bias_init: -10.3,
      encoder: {
        ...{ num_layers: 12, mlp_dim: 1536, num_heads: 6, attention_qk_norm: true },
        ...{ dropout_rate: 0, attention_dropout_rate: 0 },
        moe: {
          ...{ layers, num_experts: 128, group_size: 196, split_rngs: false },
          router: { ...router, ...(want.kind === 'soft' && { partition_spec: partition }) },
        },
      },
    })
    expect(config).toMatchObject({ tokens: 196, headSize: 64, moe: { layers, router: want } })
  })

  it.each([
    ['classifier', 'cls', 'ERR_MOE_UNSUPPORTED'],
    ['image_size', [24], 'ERR_MOE_CHECKPOINT'],
    ['image_size', [0, 24], 'ERR_MOE_CHECKPOINT'],
    ['patch_size', [25, 6], 'ERR_MOE_CHECKPOINT'],
    ['hidden_size', 33, 'ERR_MOE_CHECKPOINT'],
    ['encoder.num_heads', 0, 'ERR_MOE_CHECKPOINT'],
    ['encoder.attention_bias', true, 'ERR_MOE_UNSUPPORTED'],
    ['encoder.position_emb', { name: 'rotary' }, 'ERR_MOE_UNSUPPORTED'],
    ['encoder.moe.layers', [9], 'ERR_MOE_CHECKPOINT'],
    ['encoder.moe.router.num_selected_experts', 5, 'ERR_MOE_CHECKPOINT'],
    ['encoder.moe.router.name', 'Random', 'ERR_MOE_UNSUPPORTED'],
    ['encoder.moe.router.dispatcher.capacity_factor', undefined, 'ERR_MOE_CHECKPOINT'],
    ['encoder.moe.router.dispatcher.capacity_ceil_or_round', 'floor', 'ERR_MOE_UNSUPPORTED'],
    ['encoder.moe.router.dispatcher.spread', 2, 'ERR_MOE_UNSUPPORTED'],
  ])('refuses %s = %j', (path, value, code) =>
    expect(() => readVisionConfig(changed('top2-token-f32', path, value))).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(path.split('.').at(-1)!) }),
    ),
  )
})
