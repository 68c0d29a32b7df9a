import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import {
  copyCheckpoint,
  editJson,
  failure,
  readStored,
  type StoredTensor,
  writeStored,
} from '../support/files.ts'
import { fixture } from '../support/golden.ts'

// Files that users of other runtimes reported.

type Tensors = Map<string, StoredTensor>

function changed(folder: string, change: (tensors: Tensors) => void): string {
  const dir = copyCheckpoint(fixture('golden', folder))
  const file = path.join(dir, 'model.safetensors')
  const tensors = readStored(file)
  change(tensors)
  writeStored(
    file,
    new Map([...tensors].map(([name, one]) => [name, { ...one, data: Uint8Array.from(one.data) }])),
  )
  return dir
}

async function logitsOf(dir: string): Promise<number[]> {
  await using model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
  return Array.from((await model.forward([1, 2, 3])).logits)
}

describe('a file that says its head is tied', () => {
  const [embed, head] = ['model.embed_tokens.weight', 'lm_head.weight']
  const tied = 'qwen3_moe/dense-tied-bf16'
  const whole = fixture('golden', tied)

  it('and has another head has that one', async () => {
    const dir = changed(tied, (tensors) => {
      const { data, ...rest } = tensors.get(embed)!
      const turned = Uint8Array.from(data)
      for (let i = 1; i < turned.length; i += 2) turned[i]! ^= 0x80 // the sign of a bf16
      tensors.set(head, { ...rest, data: turned })
    })
    const want = await logitsOf(whole)
    expect(await logitsOf(dir)).toEqual(want.map((logit) => -logit))
  })

  it('and has the same head, or the head alone, has one', async () => {
    const want = await logitsOf(whole)
    const both = changed(tied, (tensors) => tensors.set(head, tensors.get(embed)!))
    expect(await logitsOf(both)).toEqual(want)
    const alone = changed(tied, (tensors) => {
      tensors.set(head, tensors.get(embed)!)
      tensors.delete(embed)
    })
    expect(await logitsOf(alone)).toEqual(want)
  })
})

it.each([
  ['torch.compile', '_orig_mod.$&'],
  ['DistributedDataParallel', 'module.$&'],
  ['PEFT', 'base_model.model.$&'],
  ['the decoder without its head', ''],
])('names as saved by %s are said to be so', async (_, by) => {
  const named = (name: string) =>
    by === '' ? name.replace(/^model\./, '') : name.replace(/^.*$/, by)
  const dir = changed('qwen3_moe/base-f32', (tensors) => {
    const all = [...tensors]
    tensors.clear()
    for (const [name, one] of all) tensors.set(named(name), one)
  })
  const wanted = 'model.norm.weight'
  expect((await failure(() => logitsOf(dir))).message).toContain(
    `tensor ${wanted} must be there, got ${named(wanted)}; save the model`,
  )
})

it('a file beside an index that does not name it is refused', async () => {
  const dir = changed('qwen3_moe/base-f32', () => undefined)
  const other = path.join(dir, 'model-00001-of-00001.safetensors')
  const tensors = readStored(path.join(dir, 'model.safetensors'))
  writeStored(other, tensors)
  const map = (file: string) => Object.fromEntries([...tensors.keys()].map((name) => [name, file]))
  const write = (file: string) =>
    writeFileSync(
      path.join(dir, 'model.safetensors.index.json'),
      JSON.stringify({ weight_map: map(file) }),
    )
  write('model-00001-of-00001.safetensors')
  expect(await failure(() => logitsOf(dir))).toMatchObject({
    code: 'ERR_MOE_CHECKPOINT',
    message: expect.stringMatching(/model\.safetensors: file must be the only weights or named in/),
  })
  write('model.safetensors')
  expect(await logitsOf(dir)).toHaveLength(
    (await logitsOf(fixture('golden/qwen3_moe/base-f32'))).length,
  )
})

describe('GPTQ', () => {
  const folder = fixture('golden/yuan/tiny-e-gptq4')
  const file = 'gptq_model-4bit-32g.safetensors'
  function withMiddle(settings: object): string {
    const dir = copyCheckpoint(folder)
    const tensors = readStored(path.join(dir, file))
    const written = [...tensors].map(([name, one]): [string, StoredTensor] => {
      const data = Uint8Array.from(one.data)
      return [name, { ...one, data: name.endsWith('.qzeros') ? data.fill(0x88) : data }]
    })
    writeStored(path.join(dir, file), new Map(written))
    editJson(path.join(dir, 'quantize_config.json'), (json) => Object.assign(json, settings))
    return dir
  }

  it.each([
    ['that says gptq', {}],
    ['that says gptq, in any order', { desc_act: true }],
    ['of the second format', { checkpoint_format: 'gptq_v2' }],
    [
      'of the second format, by the older name',
      { checkpoint_format: undefined, format: 'gptq_v2' },
    ],
  ])('with zero points as they are, %s', async (_, settings) => {
    const plain = copyCheckpoint(folder)
    editJson(path.join(plain, 'quantize_config.json'), (json) => {
      json.desc_act = 'desc_act' in settings
    })
    expect(await logitsOf(withMiddle(settings))).toEqual(await logitsOf(plain))
  })
})

describe('compressed-tensors', () => {
  const dir = () => copyCheckpoint(fixture('golden/qwen3_moe/base-f32'))
  const load = async (quantization_config: object, change: (tensors: Tensors) => void) => {
    const at = dir()
    const file = path.join(at, 'model.safetensors')
    const tensors = readStored(file)
    change(tensors)
    writeStored(
      file,
      new Map(
        [...tensors].map(([name, one]) => [name, { ...one, data: Uint8Array.from(one.data) }]),
      ),
    )
    const of = { quant_method: 'compressed-tensors', format: 'pack-quantized' }
    editJson(path.join(at, 'config.json'), (json) => {
      json.quantization_config = { ...of, ...quantization_config }
    })
    return logitsOf(at)
  }
  const name = 'model.layers.0.self_attn.q_proj'
  const pack = (tensors: Tensors): void => {
    const [N, K] = tensors.get(`${name}.weight`)!.shape as [number, number]
    tensors.delete(`${name}.weight`)
    const scale = new Float32Array(N).fill(1)
    tensors.set(`${name}.weight_packed`, {
      dtype: 'I32',
      shape: [N, K / 8],
      data: new Uint8Array((N * K) / 2),
    })
    tensors.set(`${name}.weight_scale`, {
      dtype: 'F32',
      shape: [N, 1],
      data: new Uint8Array(scale.buffer),
    })
  }
  const groups = (symmetric: boolean) => ({
    config_groups: { group_0: { weights: { type: 'int', num_bits: 4, symmetric } } },
  })

  it('with rotations of activations is refused', async () => {
    const rotated = { transform_config: { config_groups: { R3: { type: 'hadamard', apply: [] } } } }
    expect(await failure(() => load(rotated, () => undefined))).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/transform_config must be absent/),
    })
    await load({ transform_config: {} }, () => undefined)
  })

  it('that says it is asymmetric has zero points', async () => {
    await load(groups(true), pack)
    expect(await failure(() => load(groups(false), pack))).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/weight_zero_point must exist for .*q_proj/),
    })
  })

  it('scales of a cache in 8 bits are not read', async () => {
    const scales = (tensors: Tensors): void => {
      for (const one of ['k_scale', 'v_scale', 'k_proj.output_scale'])
        tensors.set(`model.layers.0.self_attn.${one}`, {
          dtype: 'F32',
          shape: [1],
          data: new Uint8Array(4),
        })
    }
    const want = await load({}, () => undefined)
    expect(await load({ kv_cache_scheme: { num_bits: 8, type: 'float' } }, scales)).toEqual(want)
    expect((await failure(() => load({}, scales))).message).toMatch(/must be one the model knows/)
  })
})
