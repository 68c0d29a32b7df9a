import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import {
  copyCheckpoint,
  editJson,
  failure,
  readStored,
  type StoredTensor,
  temporaryFolder,
  writeStored,
} from '../support/files.ts'
import { fixture } from '../support/golden.ts'

const base = fixture('golden/moepp/base-f32')
const sharded = fixture('golden/moepp/tied-sharded-f32')

/** A copy of a checkpoint, damaged; what loading it says. */
async function damaged(from: string, damage: (dir: string) => void): Promise<any> {
  const dir = copyCheckpoint(from)
  damage(dir)
  return failure(() => loadModel(dir, { device: 'cpu', maxTokens: 32 }))
}

const weights = (dir: string): string => path.join(dir, 'model.safetensors')

function rewrite(change: (tensors: Map<string, StoredTensor>) => void, header?: (h: any) => any) {
  return (dir: string) => {
    const tensors = readStored(weights(dir))
    change(tensors)
    writeStored(weights(dir), tensors, header)
  }
}

const norm = 'model.norm.weight'

describe('a folder that is no checkpoint', () => {
  it.each<[string, () => string, RegExp]>([
    ['is missing', () => path.join(temporaryFolder(), 'nothing'), /folder must exist/],
    ['is a file', () => weights(base), /must be a folder/],
    ['has no config.json', () => temporaryFolder(), /config\.json: file must exist/],
  ])('%s', async (_, dir, message) => {
    const error = await failure(() => loadModel(dir()))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(message)
  })

  it.each<[string, (text: string) => string | Buffer]>([
    ['is not JSON', () => '{'],
    ['is in UTF-16', (text) => Buffer.from(`\ufeff${text}`, 'utf16le')],
    ['is in Latin-1', (text) => Buffer.from(text.replace('{', '{"é":null,'), 'latin1')],
  ])('has a config.json that %s', async (_, spoil) => {
    const error = await damaged(base, (dir) => {
      const file = path.join(dir, 'config.json')
      writeFileSync(file, spoil(readFileSync(file, 'utf8')))
    })
    expect(error).toMatchObject({ code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(/config\.json: file must be JSON/)
  })

  it('a byte order mark in front of it is none of it', async () => {
    const dir = copyCheckpoint(base)
    const file = path.join(dir, 'config.json')
    writeFileSync(file, `\ufeff${readFileSync(file, 'utf8')}`)
    await (await loadModel(dir, { device: 'cpu', maxTokens: 64 })).dispose()
  })

  it('has no weights', async () => {
    const error = await damaged(base, (dir) => rmSync(weights(dir)))
    expect(error).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/weights must be in/),
    })
  })

  it('has PyTorch weights: says how to convert them', async () => {
    const error = await damaged(base, (dir) => {
      rmSync(weights(dir))
      writeFileSync(path.join(dir, 'pytorch_model.bin'), '')
    })
    expect(error).toMatchObject({
      code: 'ERR_MOE_CHECKPOINT',
      message: expect.stringMatching(/moe-native convert/),
    })
  })
})

describe('a safetensors file that is damaged', () => {
  const cases: [string, (dir: string) => void, RegExp][] = [
    ['empty', (dir) => writeFileSync(weights(dir), ''), /at least 8 bytes/],
    [
      'truncated in its data',
      (dir) => truncateSync(weights(dir), readFileSync(weights(dir)).length - 1),
      /tensor .*: data must be inside the file/,
    ],
    [
      'truncated in its header',
      (dir) => truncateSync(weights(dir), 100),
      /header must be inside the file/,
    ],
    [
      'of a header that is not JSON',
      rewrite(
        () => {},
        () => '{"a": ',
      ),
      /header must be JSON/,
    ],
    [
      'of a header that is an array',
      rewrite(
        () => {},
        () => '[]',
      ),
      /header must be a JSON object/,
    ],
    [
      'naming a tensor twice',
      rewrite(
        () => {},
        (h) => JSON.stringify(h).replace(/\}$/, `,"${norm}":${JSON.stringify(h[norm])}}`),
      ),
      /tensor model\.norm\.weight must be named once/,
    ],
    [
      'of an unknown dtype',
      rewrite(
        () => {},
        (h) => ({ ...h, [norm]: { ...h[norm], dtype: 'F33' } }),
      ),
      /model\.norm\.weight: dtype must be a safetensors dtype/,
    ],
    [
      'of a negative size',
      rewrite(
        () => {},
        (h) => ({ ...h, [norm]: { ...h[norm], shape: [-64] } }),
      ),
      /model\.norm\.weight: shape must be a list of sizes/,
    ],
    [
      'of offsets that do not fit the shape',
      rewrite(
        () => {},
        (h) => ({ ...h, [norm]: { ...h[norm], shape: [63] } }),
      ),
      /model\.norm\.weight: data_offsets must be 252 bytes apart/,
    ],
    [
      'of overlapping tensors',
      rewrite(
        () => {},
        (h) => ({ ...h, [norm]: { ...h[norm], data_offsets: [0, 256] } }),
      ),
      /must be apart from others, got an overlap/,
    ],
  ]
  it.each(cases)('%s', async (_, damage, message) => {
    const error = await damaged(base, damage)
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(/model\.safetensors/)
    expect(error.message).toMatch(message)
  })
})

describe('tensors that are not what the model needs', () => {
  it.each<[string, string, (dir: string) => void, RegExp]>([
    [
      'missing',
      'ERR_MOE_CHECKPOINT',
      rewrite((t) => t.delete(norm)),
      /tensor model\.norm\.weight must be there/,
    ],
    [
      'of another shape',
      'ERR_MOE_CHECKPOINT',
      rewrite((t) => t.set(norm, { ...t.get(norm)!, shape: [8, 8] })),
      /tensor model\.norm\.weight must be \[64\], got \[8, 8\]/,
    ],
    [
      'of another dtype',
      'ERR_MOE_DTYPE',
      rewrite((t) => t.set(norm, { dtype: 'I64', shape: [64], data: new Uint8Array(512) })),
      /model\.norm\.weight must be F32, F16 or BF16, got I64/,
    ],
    ...[norm, 'model.embed_tokens.weight', 'model.layers.0.self_attn.q_proj.weight'].map(
      (name): [string, string, (dir: string) => void, RegExp] => [
        `of whole numbers: ${name}`,
        'ERR_MOE_DTYPE',
        rewrite((t) => t.set(name, { ...t.get(name)!, dtype: 'I32' })),
        new RegExp(`${name.replaceAll('.', '\\.')} must be F32, F16 or BF16, got I32`),
      ],
    ),
    [
      'unexpected',
      'ERR_MOE_CHECKPOINT',
      rewrite((t) => t.set('model.surprise', t.get(norm)!)),
      /tensor model\.surprise must be one the model knows/,
    ],
  ])('%s', async (_, code, damage, message) => {
    const error = await damaged(base, damage)
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })

  it('a stored rotary buffer is ignored', async () => {
    const dir = copyCheckpoint(base)
    rewrite((t) => t.set('model.layers.0.self_attn.rotary_emb.inv_freq', t.get(norm)!))(dir)
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
    expect(model.config.architecture).toBe('moepp')
  })
})

describe('an index that is wrong', () => {
  const index = (dir: string) => path.join(dir, 'model.safetensors.index.json')
  const first = 'model-00001-of-00002.safetensors'
  const second = 'model-00002-of-00002.safetensors'
  it.each<[string, (dir: string) => void, RegExp]>([
    [
      'without weight_map',
      (dir) => writeFileSync(index(dir), '{}'),
      /weight_map must be an object/,
    ],
    [
      'naming a file that is missing',
      (dir) => rmSync(path.join(dir, second)),
      /model-00002-of-00002\.safetensors: file must exist/,
    ],
    [
      'naming a file of another folder',
      (dir) => editJson(index(dir), (j) => (j.weight_map[norm] = '../x.safetensors')),
      /must name files of this folder/,
    ],
    [
      'naming a tensor that is in the other file',
      (dir) =>
        editJson(
          index(dir),
          (j) => (j.weight_map[norm] = j.weight_map[norm] === first ? second : first),
        ),
      /tensor model\.norm\.weight must be there, as model\.safetensors\.index\.json says/,
    ],
    [
      'with a tensor in two files',
      (dir) => {
        const [a, b] = [first, second].map((f) => readStored(path.join(dir, f)))
        const [name, tensor] = [...a!][0]!
        writeStored(path.join(dir, second), b!.set(name, tensor))
      },
      /must be in one file, got it in/,
    ],
  ])('%s', async (_, damage, message) => {
    const error = await damaged(sharded, damage)
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(message)
  })
})

describe('GPTQ', () => {
  const gptq = fixture('golden/yuan/tiny-e-gptq4')
  const file = 'gptq_model-4bit-32g.safetensors'

  it('loads a file that was split by bytes, at any place', async () => {
    const dir = copyCheckpoint(gptq)
    const bytes = readFileSync(path.join(dir, file))
    rmSync(path.join(dir, file))
    const cuts = [0, 3, 8192, 100_001, bytes.length]
    for (let i = 0; i + 1 < cuts.length; i++)
      writeFileSync(path.join(dir, `${file}0${i}`), bytes.subarray(cuts[i], cuts[i + 1]))
    await using split = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
    await using whole = await loadModel(gptq, { device: 'cpu', maxTokens: 32 })
    expect((await split.forward([1, 2, 3])).logits).toEqual((await whole.forward([1, 2, 3])).logits)
  })

  it('loads parts of whole pages, as publishers split them', async () => {
    const dir = copyCheckpoint(gptq)
    const bytes = readFileSync(path.join(dir, file))
    rmSync(path.join(dir, file))
    for (let i = 0; i * 65536 < bytes.length; i++)
      writeFileSync(path.join(dir, `${file}0${i}`), bytes.subarray(i * 65536, (i + 1) * 65536))
    await using split = await loadModel(dir, { device: 'cpu', maxTokens: 32 })
    expect(split.config.architecture).toBe('yuan')
  })

  it.each<[string, string, (dir: string) => void, RegExp]>([
    [
      'a part missing between others',
      'ERR_MOE_CHECKPOINT',
      (dir) => {
        copyFileSync(path.join(dir, file), path.join(dir, `${file}00`))
        copyFileSync(path.join(dir, file), path.join(dir, `${file}02`))
        rmSync(path.join(dir, file))
      },
      /parts must be numbered without a gap/,
    ],
    [
      '3 bits',
      'ERR_MOE_UNSUPPORTED',
      (dir) => editJson(path.join(dir, 'quantize_config.json'), (j) => (j.bits = 3)),
      /quantization bits must be 4 or 8, got 3/,
    ],
    [
      'another method',
      'ERR_MOE_UNSUPPORTED',
      (dir) => editJson(path.join(dir, 'quantize_config.json'), (j) => (j.quant_method = 'hqq')),
      /quant_method must be "awq", "compressed-tensors", "fp8", "gptq" or "mxfp4", got "hqq"/,
    ],
  ])('%s', async (_, code, damage, message) => {
    const error = await damaged(gptq, damage)
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })
})

describe('loading', () => {
  it('reports every byte once', async () => {
    const seen: { loadedBytes: number; totalBytes: number; tensor: string }[] = []
    await using model = await loadModel(sharded, {
      device: 'cpu',
      maxTokens: 32,
      onProgress: (p) => seen.push(p),
    })
    expect(model.tokenizer).toBeUndefined()
    expect(seen.at(-1)!.loadedBytes).toBe(seen.at(-1)!.totalBytes)
    expect(
      seen.every((p, i) => p.loadedBytes >= (seen[i - 1]?.loadedBytes ?? 0) && p.tensor !== ''),
    ).toBe(true)
  })

  it("rejects with the signal's own reason", async () => {
    const reason = new Error('changed my mind')
    expect(await failure(() => loadModel(base, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    const controller = new AbortController()
    const loading = loadModel(base, {
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    expect(await failure(() => loading)).toBe(reason)
  })

  it('reads f16 weights exactly', async () => {
    const [inHalves, inSingles] = [copyCheckpoint(base), copyCheckpoint(base)]
    const halves: StoredTensor = { dtype: 'F16', shape: [64], data: new Uint8Array(128) }
    const view = new DataView(halves.data.buffer)
    // 1, -2, the smallest subnormal, the largest half, and ones.
    const bits = [0x3c00, 0xc000, 0x0001, 0x7bff]
    for (let i = 0; i < 64; i++) view.setUint16(2 * i, bits[i] ?? 0x3c00, true)
    const values = Float32Array.from({ length: 64 }, (_, i) => [1, -2, 2 ** -24, 65504][i] ?? 1)
    const singles = { dtype: 'F32', shape: [64], data: new Uint8Array(values.buffer) }
    rewrite((t) => t.set(norm, halves))(inHalves)
    rewrite((t) => t.set(norm, singles))(inSingles)
    await using half = await loadModel(inHalves, { device: 'cpu', maxTokens: 32 })
    await using single = await loadModel(inSingles, { device: 'cpu', maxTokens: 32 })
    expect((await half.forward([1, 2])).logits).toEqual((await single.forward([1, 2])).logits)
  })

  it('says how much memory is missing', async () => {
    const error = await failure(() => loadModel(base, { device: 'cpu', maxTokens: 2 ** 30 }))
    expect(error).toMatchObject({
      code: 'ERR_MOE_OUT_OF_MEMORY',
      message: expect.stringMatching(
        /free memory of [\d.]+ GB, got 0\.\d+ GB of weights and [\d.]+ GB of cache for 1073741824 tokens; maxTokens \d+ would fit/,
      ),
    })
  })
})
