import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  loadModel,
  type Model,
  type QuantizeOptions,
  type QuantizeProgress,
  quantizeCheckpoint,
} from '../../lib/index.ts'
import { readCompressed } from '../support/compressed_tensors.ts'
import {
  copyCheckpoint,
  editJson,
  failure,
  readStored,
  temporaryFolder,
  writeStored,
} from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { integerFormats, quantizedWeight } from '../support/integers.ts'
import { fromBf16 } from '../support/math.ts'

const demo = (name: string) => `${root}/demo/${name}-tiny`
const newFolder = (): string => path.join(temporaryFolder(), 'out')
const load = (dir: string, weights: 'auto' | 'int8' | 'int4' = 'auto') =>
  loadModel(dir, { device: 'cpu', weights, maxTokens: 64 })
const logitsOf = async (model: Model) =>
  (await model.forward([5, 6, 7, 8, 9], { logits: 'all' })).logits
const said = (dir: string) => JSON.parse(readFileSync(path.join(dir, 'config.json'), 'utf8'))

async function quantized(dir: string, options: QuantizeOptions): Promise<string> {
  const out = newFolder()
  await quantizeCheckpoint(dir, out, options)
  return out
}

describe('quantizeCheckpoint', () => {
  it.each([
    ['a demo model in int4', demo('yuan'), 'int4'],
    ['a demo model in int8', demo('mixtral'), 'int8'],
    ['stacked experts', fixture('golden/granitemoe/base-f32'), 'int8'],
    ['shared experts and latent attention', fixture('golden/deepseek_v3/yarn-bf16'), 'int8'],
  ] as const)('%s: the numbers of quantising at load', async (_, dir, format) => {
    const out = await quantized(dir, { format })
    await using written = await load(out)
    await using loaded = await load(dir, format)
    expect(written.weights).toEqual(loaded.weights)
    expect(await logitsOf(written)).toEqual(await logitsOf(loaded))
  })

  it.each([32, 128] as const)('writes the published layout, in groups of %i', async (group) => {
    const dir = demo('yuan')
    const out = await quantized(dir, { format: 'int4', group })
    const from = readStored(path.join(dir, 'model.safetensors'))
    const to = readStored(path.join(out, 'model.safetensors'))
    const sizes = new Map<string, number>()
    for (const [name, { shape, data }] of from) {
      const layer = name.replace(/\.weight$/, '')
      if (!to.has(`${layer}.weight_scale`)) {
        expect(Buffer.compare(to.get(name)!.data, data)).toBe(0)
        continue
      }
      const width = shape[1]!
      const its = to.has(`${layer}.weight_packed`)
        ? width % group === 0
          ? (`int4g${group}` as const)
          : 'int4g32'
        : 'int8'
      const done = sizes.get(its) ?? 0
      sizes.set(its, done + 1)
      if (done >= 2) continue // a few of each
      const words = new Uint16Array(Uint8Array.from(data).buffer)
      const want = quantizedWeight(Float64Array.from(words, fromBf16), width, integerFormats[its])
      const got = readCompressed(to, layer)
      expect(got.findIndex((w, i) => Math.abs(w - want[i]!) > 0)).toBe(-1)
    }
    // Hidden size 128, experts of 64: with groups of 128 their second matrices have groups of 32.
    expect([...sizes.keys()].sort()).toEqual(
      group === 32 ? ['int4g32', 'int8'] : ['int4g128', 'int4g32', 'int8'],
    )
  })

  it('says what each layer is, without a name in two places', async () => {
    const out = await quantized(demo('yuan'), { format: 'int4', attention: 'bf16', head: 'bf16' })
    const { quantization_config: config } = said(out)
    expect(config).toMatchObject({ quant_method: 'compressed-tensors', format: 'pack-quantized' })
    const [{ targets, weights }] = Object.values<any>(config.config_groups) as [any]
    expect(weights).toMatchObject({ num_bits: 4, strategy: 'group', group_size: 32 })
    const layers = (list: string[], name: string) =>
      list.some((one) =>
        one.startsWith('re:') ? new RegExp(one.slice(3)).test(name) : one === name,
      )
    for (const name of readStored(path.join(out, 'model.safetensors')).keys()) {
      const layer = name.replace(/\.weight(_\w+)?$/, '')
      expect(layers(targets, layer)).toBe(name.includes('.experts.'))
      const multiplies = /(_proj|conv\d|query|key|value|lm_head)$/.test(layer)
      expect(layers(config.ignore, layer)).toBe(multiplies)
    }
    await using model = await load(out)
    expect(model.weights.find(({ part }) => part === 'attention')?.format).toBe('bf16')
  })

  it('keeps a head that is the embedding table', async () => {
    const out = await quantized(fixture('golden/moepp/tied-sharded-f32'), { format: 'int8' })
    await using model = await load(out)
    expect(model.weights.find(({ part }) => part === 'head')?.format).toBe('f32')
    const shards = readdirSync(out).filter((name) => name.endsWith('.safetensors'))
    expect(shards.length).toBeGreaterThan(1)
  })

  it('copies what is beside the weights, reports how far it is, and leaves nothing else', async () => {
    const seen: QuantizeProgress[] = []
    const out = newFolder()
    await quantizeCheckpoint(demo('moepp'), out, {
      format: 'int4',
      onProgress: (progress) => seen.push(progress),
    })
    expect(readdirSync(out)).toEqual(readdirSync(demo('moepp')).sort())
    const done = seen.map(({ quantizedBytes }) => quantizedBytes)
    expect(done).toEqual(done.toSorted((a, b) => a - b))
    expect(seen.at(-1)!.quantizedBytes).toBe(seen.at(-1)!.totalBytes)
  })

  it('goes on where an aborted call was, and not with other options', async () => {
    const dir = fixture('golden/moepp/tied-sharded-f32')
    const out = newFolder()
    const abort = new AbortController()
    const files = new Set<string>()
    const stop = ({ file }: QuantizeProgress) => {
      files.add(file)
      if (files.size === 2) abort.abort(new Error('enough'))
    }
    const options = { format: 'int8', signal: abort.signal, onProgress: stop } as const
    await expect(quantizeCheckpoint(dir, out, options)).rejects.toThrow('enough')
    const [first] = files
    expect(readdirSync(out)).toEqual(['.moe-native-quantize.json', first])
    await expect(loadModel(out)).rejects.toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
    await expect(quantizeCheckpoint(dir, out, { format: 'int4' })).rejects.toThrow(
      'out must be a new or empty folder',
    )
    const written = readFileSync(path.join(out, first!))
    const steps: QuantizeProgress[] = []
    await quantizeCheckpoint(dir, out, { format: 'int8', onProgress: (p) => steps.push(p) })
    expect(steps.filter(({ file }) => file === first).length).toBe(1) // taken over
    expect(readFileSync(path.join(out, first!))).toEqual(written)
    expect(readdirSync(out).filter((name) => /moe-native/.test(name))).toEqual([])
    await using again = await load(out)
    await using loaded = await load(dir, 'int8')
    const attention = (model: Model) => model.weights.find(({ part }) => part === 'attention')
    expect(attention(again)).toEqual(attention(loaded))
  })

  it('an abort before a file is whole leaves nothing', async () => {
    const out = newFolder()
    const signal = AbortSignal.abort(new Error('no'))
    const abort = new AbortController()
    const onProgress = () => abort.abort(new Error('stop'))
    const options = { format: 'int8', onProgress, signal: abort.signal } as const
    await expect(quantizeCheckpoint(demo('moepp'), out, options)).rejects.toThrow('stop')
    await expect(
      quantizeCheckpoint(demo('moepp'), out, { format: 'int8', signal }),
    ).rejects.toThrow('no')
    expect(readdirSync(path.dirname(out))).toEqual([])
  })
})

describe('quantizeCheckpoint refuses', () => {
  const refused = async (dir: string, out: string, options: object = { format: 'int8' }) =>
    failure(() => quantizeCheckpoint(dir, out, options as QuantizeOptions))

  it.each([
    ['format', {}, /format must be 'int8' or 'int4', got undefined/],
    ['format', { format: 'int2' }, /format must be 'int8' or 'int4', got "int2"/],
    ['group', { format: 'int4', group: 64 }, /group must be 32 or 128, got 64/],
    ['head', { format: 'int4', head: 'f32' }, /head must be 'int8', 'int4' or 'bf16', got "f32"/],
    ['a name', { format: 'int4', bits: 4 }, /bits/],
  ])('options: %s', async (_, options, message) => {
    const error = await refused(demo('moepp'), newFolder(), options)
    expect(error).toMatchObject({ code: 'ERR_MOE_OPTION', message: expect.stringMatching(message) })
  })

  it('integers', async () => {
    const error = await refused(fixture('golden/yuan/tiny-e-gptq4'), newFolder())
    expect(error).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/must be f32, f16 or bf16, got .* quantised \(gptq\)/),
    })
    const twice = await refused(await quantized(demo('moepp'), { format: 'int8' }), newFolder())
    expect(twice.message).toMatch(/quantised \(compressed-tensors\)/)
  })

  it('matrices stored by their inputs', async () => {
    const error = await refused(fixture('golden/gpt_oss/base-f32'), newFolder())
    expect(error).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/gate_up_proj must be stored by its outputs/),
    })
  })

  it('an output in the checkpoint, also behind a link, or with files', async () => {
    const dir = copyCheckpoint(demo('moepp'))
    const link = path.join(temporaryFolder(), 'link')
    symlinkSync(dir, link)
    for (const out of [dir, path.join(dir, 'out'), path.join(link, 'a', 'b')])
      expect((await refused(dir, out)).message).toMatch(/out must be a folder outside/)
    const full = newFolder()
    mkdirSync(full)
    writeFileSync(path.join(full, 'notes.txt'), 'mine')
    expect((await refused(dir, full)).message).toMatch(/out must be a new or empty folder/)
    expect(readdirSync(full)).toEqual(['notes.txt'])
  })

  it.each([
    ['NaN', 0x7fc0, 'NaN|nan'],
    ['infinity', 0x7f80, 'inf'],
    ['what f16 has no scale for', 0x7f00, 'inf'],
  ])('weights with %s, by their name', async (_, bits, got) => {
    const dir = copyCheckpoint(demo('moepp'))
    const file = path.join(dir, 'model.safetensors')
    const tensors = readStored(file)
    const [name, tensor] = [...tensors].find(([one]) => one.includes('.experts.'))!
    const data = Uint8Array.from(tensor.data)
    new DataView(data.buffer).setUint16(64, bits, true)
    writeStored(file, tensors.set(name, { ...tensor, data }))
    const out = newFolder()
    const error = await refused(dir, out, { format: 'int4' })
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toContain(`${name}: weights must be finite`)
    expect(error.message).toMatch(new RegExp(`got -?(${got})`))
    expect(readdirSync(path.dirname(out))).toEqual([])
  })

  it('a checkpoint of another architecture before anything is written', async () => {
    const dir = copyCheckpoint(demo('moepp'))
    editJson(path.join(dir, 'config.json'), (config) => {
      config.hidden_size = 256
    })
    const out = newFolder()
    expect(await refused(dir, out)).toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
    expect(readdirSync(path.dirname(out))).toEqual([])
    cpSync(demo('moepp'), out, { recursive: true })
    expect((await refused(demo('moepp'), out)).message).toMatch(/new or empty folder/)
  })
})
