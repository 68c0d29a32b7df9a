import { expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'
import { fixture, range } from '../support/golden.ts'
import { testDevice } from '../support/use_model.ts'

goldenFamily('phimoe', ['base-f32', 'longrope-bf16'])

it('a text that would need the long rotary factors is refused', async () => {
  const dir = fixture('golden', 'phimoe', 'longrope-bf16')
  await using model = await loadModel(dir, { device: testDevice, maxTokens: 512 })
  expect(model.config.maxPositionEmbeddings).toBe(40)
  expect((await model.forward(range(40))).logits).toHaveLength(84)
  const error = await failure(() => model.forward(range(41)))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CONTEXT_FULL' })
  expect(error.message).toContain('original_max_position_embeddings')
})
