import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'

goldenFamily('ernie4_5_moe', ['base-bf16', 'interval-v5-f32'])

it('has sparse layers from the first to the last index, every so many', () => {
  const base = { ...familySamples.ernie4_5_moe!.base, num_hidden_layers: 6 }
  const dense = (json: object) =>
    (describeModel({ ...base, ...json }).config as unknown as { denseLayers: number[] }).denseLayers
  expect(dense({})).toEqual([0])
  expect(dense({ moe_layer_start_index: 2, moe_layer_end_index: 3 })).toEqual([0, 1, 4, 5])
  expect(dense({ moe_layer_interval: 3 })).toEqual([0, 1, 3, 4])
  expect(dense({ moe_layer_end_index: null, moe_layer_start_index: 0 })).toEqual([])
})
