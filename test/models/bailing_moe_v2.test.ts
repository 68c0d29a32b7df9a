import { expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure } from '../support/files.ts'

goldenFamily('bailing_moe_v2', ['base-bf16', 'biases-yarn-f32'])

it("refuses the first Ling's files, which have the same model_type", async () => {
  const { score_function: _, ...first } = familySamples.bailing_moe!.base
  const error = await failure(() => describeModel(first))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toContain('config.json: score_function must be "sigmoid"')
})
