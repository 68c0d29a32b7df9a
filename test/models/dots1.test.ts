import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'

goldenFamily('dots1', ['base-bf16', 'window-v5-f32'])

const read = (json: object) => describeModel({ ...familySamples.dots1!.base, ...json }).config

it('slides in the layers behind max_window_layers, or in those that are listed', () => {
  expect(read({})).toMatchObject({
    ...{ layerTypes: ['full_attention', 'sliding_attention'], slidingWindow: 4096 },
  })
  const none = { layerTypes: ['full_attention', 'full_attention'], slidingWindow: undefined }
  expect(read({ sliding_window: null })).toMatchObject(none)
  expect(read({ max_window_layers: null, sliding_window: 8 })).toMatchObject(none)
})

it('refuses layers that slide without a size', async () => {
  const layer_types = ['full_attention', 'sliding_attention']
  const error = await failure(() => read({ layer_types, sliding_window: null }))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
  expect(error.message).toContain('sliding_window must be a size, since layers of layer_types')
})
