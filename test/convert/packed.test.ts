import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel, type Model, type QuantizeOptions, quantizeCheckpoint } from '../../lib/index.ts'
import { native, type WeightFormat } from '../../lib/native.ts'
import { runScript } from '../support/child.ts'
import { editJson, failure, readStored, temporaryFolder, writeStored } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'

const newFolder = (): string => path.join(temporaryFolder(), 'out')
const load = (dir: string, weights: 'auto' | 'int4' | 'int8' | 'bf16' = 'auto') =>
  loadModel(dir, { device: 'cpu', weights, maxTokens: 64 })
const logitsOf = async (model: Model) =>
  (await model.forward([5, 6, 7, 8, 9], { logits: 'all' })).logits

async function packed(dir: string, options: Omit<QuantizeOptions, 'packed'>): Promise<string> {
  const out = newFolder()
  await quantizeCheckpoint(dir, out, { ...options, packed: true })
  return out
}

describe('packed weights', () => {
  it.each([
    ['a demo model in int4', `${root}/demo/moepp-tiny`, 'int4'],
    ['plain values in several files', fixture('golden/moepp/tied-sharded-f32'), 'auto'],
    ['f32 as bf16', fixture('golden/yuan/tiny-a'), 'bf16'],
    ['published integers', fixture('golden/yuan/tiny-e-gptq4'), 'auto'],
    ['stacked and transposed experts of MXFP4', fixture('golden/gpt_oss/mxfp4'), 'auto'],
    ['FP8 in int8', fixture('golden/minimax_m2/base-fp8'), 'int8'],
    ['padded experts', fixture('golden/llama_moe/sizes-bf16'), 'int4'],
    ['latent attention', fixture('golden/deepseek_v2/lite-bf16'), 'int4'],
  ] as const)('%s: the bits of loading', async (_, dir, format) => {
    const out = await packed(dir, { format })
    await using mapped = await load(out)
    await using loaded = await load(dir, format)
    expect(mapped.weights).toEqual(loaded.weights)
    expect(mapped.parameters).toEqual(loaded.parameters)
    expect(await logitsOf(mapped)).toEqual(await logitsOf(loaded))
  })

  it('take groups and parts as others do', async () => {
    const options = { format: 'int4', group: 128, attention: 'bf16', head: 'int4' } as const
    await using model = await load(await packed(`${root}/demo/moepp-tiny`, options))
    const formatsOf = (wanted: string) =>
      model.weights.filter(({ part }) => part === wanted).map(({ format }) => format)
    expect(formatsOf('attention')).toEqual(['bf16'])
    expect(formatsOf('head')).toEqual(['int4g128'])
    expect(formatsOf('experts')).toContain('int4g128')
  })

  it('are not copied, and what is mapped is let go at the end', async () => {
    const out = await packed(`${root}/demo/moepp-tiny`, { format: 'int4' })
    const file = path.join(out, 'model.safetensors')
    const model = await load(out)
    const before = await logitsOf(model)
    // Whoever writes to the file is seen, which a copy would not be.
    const bytes = readFileSync(file)
    writeFileSync(file, bytes)
    await expect(logitsOf(model)).rejects.toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
    await model.dispose()
    await using again = await load(out)
    expect(await logitsOf(again)).toEqual(before)
  })

  it.skipIf(process.platform === 'win32')('that are cut under a model end its call', async () => {
    const out = await packed(`${root}/demo/moepp-tiny`, { format: 'auto' })
    const ended = await runScript(`
      const model = await loadModel(${JSON.stringify(out)}, { device: 'cpu', maxTokens: 32 })
      fs.truncateSync(${JSON.stringify(path.join(out, 'model.safetensors'))}, 8192)
      await show('first', model.forward([1, 2, 3]))
      await show('dispose', model.dispose())`)
    const stdout = 'first ERR_MOE_CHECKPOINT\ndispose ok\n'
    expect(ended).toEqual({ code: 0, signal: null, stderr: '', stdout })
  })

  it('are the same bytes from every instruction set', async () => {
    const { cpu, selectIsa } = native()
    const { isa, isas } = cpu()
    const files = []
    try {
      for (const one of isas) {
        selectIsa(one)
        const out = await packed(fixture('golden/moepp/base-bf16'), { format: 'int4' })
        files.push(readFileSync(path.join(out, 'model.safetensors')))
      }
    } finally {
      selectIsa(isa)
    }
    for (const file of files) expect(file.equals(files[0]!)).toBe(true)
  })
})

describe('packed files that are not right', async () => {
  const good = await packed(fixture('golden/moepp/base-bf16'), { format: 'int4' })
  const damaged = (damage: (file: string, dir: string) => void): string => {
    const dir = newFolder()
    cpSync(good, dir, { recursive: true })
    damage(path.join(dir, 'model.safetensors'), dir)
    return dir
  }
  /** With its header changed. */
  const said = (change: (header: any) => void) =>
    damaged((file) => {
      const { __metadata__: metadata } = headerOf(file)
      writeStored(file, readStored(file), (header) => {
        const all = { __metadata__: metadata, ...header }
        change(all)
        return all
      })
    })
  const headerOf = (file: string) => {
    const bytes = readFileSync(file)
    return JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString())
  }
  const first = Object.keys(headerOf(path.join(good, 'model.safetensors')))[1]!
  const message = async (dir: string, options = {}) => {
    const error = await failure(() => loadModel(dir, { device: 'cpu', maxTokens: 32, ...options }))
    expect(error.name).toBe('MoeError')
    return `${error.code} ${error.message}`
  }

  it.each([
    ['version', (h: any) => (h.__metadata__.version = '2'), /version of panels must be "1"/],
    ['no version', (h: any) => delete h.__metadata__.version, /version of panels .* got undefined/],
    ['no names', (h: any) => delete h.__metadata__.found, /found must be a list of names/],
    ['a matrix is gone', (h: any) => delete h[first], /packed matrix .* must be there/],
    ['a dtype', (h: any) => (h[first].dtype = 'I8'), /must be U8 of \d+ bytes .*, got I8/],
    [
      'a size',
      (h: any) => {
        h[first].shape[0] -= 64
        h[first].data_offsets[1] -= 64
      },
      /must be U8 of \d+ bytes for \[\d+, \d+\], got U8 of \d+/,
    ],
    [
      'an offset',
      (h: any) => {
        for (const one of Object.values<any>(h)) {
          if (one.data_offsets) one.data_offsets = one.data_offsets.map((at: number) => at + 4)
        }
      },
      /must be|bytes must begin/,
    ],
    [
      'a format that is none',
      (h: any) => {
        h[first.replace(/^\S+/, 'int3')] = h[first]
        delete h[first]
      },
      /format must be f32 \| bf16/,
    ],
    [
      'a format of other bytes',
      (h: any) => {
        h[first.replace(/^\S+/, 'f32')] = h[first]
        delete h[first]
      },
      /must be U8 of \d+ bytes/,
    ],
  ])('%s', async (_, change, expected) => {
    expect(await message(said(change))).toMatch(expected)
  })

  it('a file that is cut', async () => {
    const size = readFileSync(path.join(good, 'model.safetensors')).length
    for (const bytes of [0, 7, 100, 4096, size - 1])
      expect(await message(damaged((file) => truncateSync(file, bytes)))).toMatch(
        /^ERR_MOE_CHECKPOINT .*must be/,
      )
  })

  it('a file beside another kind of file', async () => {
    const dir = damaged((file, folder) => {
      const other = path.join(fixture('golden/moepp/base-bf16'), 'model.safetensors')
      cpSync(other, path.join(folder, 'other.safetensors'))
      const names = (one: string, at: string) =>
        Object.keys(headerOf(one))
          .filter((name) => name !== '__metadata__')
          .map((name) => [name, at])
      const map = [...names(other, 'other.safetensors'), ...names(file, 'model.safetensors')]
      writeFileSync(
        path.join(folder, 'model.safetensors.index.json'),
        JSON.stringify({ weight_map: Object.fromEntries(map) }),
      )
    })
    expect(await message(dir)).toMatch(/ERR_MOE_CHECKPOINT/)
  })

  it('another configuration', async () => {
    const dir = damaged((_, folder) =>
      editJson(path.join(folder, 'config.json'), (config) => {
        config.num_hidden_layers += 1
      }),
    )
    expect(await message(dir)).toMatch(/ERR_MOE_CHECKPOINT .*must be there/)
  })

  it('a GPU, another format, and packing again', async () => {
    if (simulated)
      expect(await message(good, { device: 'cuda-sim' })).toMatch(
        /ERR_MOE_UNSUPPORTED .*device must be cpu for packed weights/,
      )
    expect(await message(good, { weights: 'int8' })).toMatch(/weights must be 'auto' for packed/)
    for (const packed of [true, false]) {
      const options = { format: 'int8', packed } as const
      const error = await failure(() => quantizeCheckpoint(good, newFolder(), options))
      expect(error.code).toBe('ERR_MOE_UNSUPPORTED')
    }
    expect(readdirSync(good).sort()).toContain('config.json')
  })

  it('a weight that is filled or would not fit, where it is mapped', () => {
    const { MappedFile, Weight, tensor } = native()
    const file = new MappedFile([path.join(good, 'model.safetensors')])
    const weight = new Weight([64, 64], 'f32' as WeightFormat)
    expect(() => weight.read(0, 4)).toThrow(/memory must be filled/)
    expect(() => weight.map(file, 4)).toThrow(/multiple of 64/)
    expect(() => weight.map(file, -64)).toThrow(/multiple of 64/)
    expect(() => weight.map(file, 2 ** 40)).toThrow(/must end before/)
    expect(() => weight.map(tensor([1], 'f32') as never, 0)).toThrow(/must be a file/)
    weight.map(file, 64)
    expect(() => weight.map(file, 64)).toThrow(/must be on the host and empty/)
    expect(weight.read(64, 8)).toEqual(file.read(128, 8))
    expect(() => weight.read(0, weight.bytes + 1)).toThrow(/range must end before/)
  })
})
