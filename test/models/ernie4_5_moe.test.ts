import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { randomModel } from '../../lib/index.ts'
import { describeModel } from '../../lib/models/index.ts'
import { familySamples } from '../support/families/index.ts'
import { goldenFamily } from '../support/family.ts'
import { failure, temporaryFolder, writeStored } from '../support/files.ts'

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

it('takes adapters where rows lie as in the file: beside v_proj and o_proj, not beside q_proj and k_proj', async () => {
  await using model = await randomModel(familySamples.ernie4_5_moe!.base, { device: 'cpu' })
  const adapter = (module: string, outputs: number): string => {
    const dir = temporaryFolder()
    const config = { peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: [module] }
    writeFileSync(path.join(dir, 'adapter_config.json'), JSON.stringify(config))
    const f32 = (...shape: number[]) => {
      const count = shape.reduce((n, dim) => n * dim, 1)
      return { dtype: 'F32', shape, data: new Uint8Array(4 * count) }
    }
    const name = `base_model.model.model.layers.0.self_attn.${module}.lora_`
    const halves = [
      [`${name}A.weight`, f32(2, 64)],
      [`${name}B.weight`, f32(outputs, 2)],
    ] as const
    writeStored(path.join(dir, 'adapter_model.safetensors'), new Map(halves))
    return dir
  }
  expect(await model.loadAdapter(adapter('v_proj', 64))).toMatchObject({ modules: 1, rank: 2 })
  const error = await failure(() => model.loadAdapter(adapter('q_proj', 64)))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
  expect(error.message).toMatch(/q_proj\.lora_A\.weight must be .*\(v_proj, o_proj\)/)
})
