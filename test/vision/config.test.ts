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
