import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel, type Model, type WeightsOption } from '../../lib/index.ts'
import { Random } from '../cases/case.ts'
import { copyCheckpoint, editJson, readStored, writeStored } from '../support/files.ts'
import { fixture, range } from '../support/golden.ts'
import { testDevice } from '../support/use_model.ts'
import { bf16Bits, e4m3 } from '../support/weights.ts'

/** As publishers store them: all matrices of layers in blocks of 128 x 128, the router left alone. */
const inFp8 =
  /layers\.\d+\.(self_attn\.\w+_proj(_with_mqa)?|mlp\.(experts\.\d+\.|shared_experts\.)?(gate|up|down)_proj)\.weight$/

/** How the scales lie: blocks that no format keeps, or of whole rows (tiny ones); or compressed-tensors' for each output. */
const layouts = {
  blocks: { block: [16, 8], suffix: '_scale_inv' },
  'wide blocks': { block: [16, 128], suffix: '_scale_inv' },
  channels: { block: [1, 1 << 20], suffix: '_scale' },
} as const

const quantizations = {
  fp8: (block: readonly number[]) => ({
    ...{ quant_method: 'fp8', activation_scheme: 'dynamic', fmt: 'e4m3', weight_block_size: block },
  }),
  channels: () => ({ quant_method: 'compressed-tensors', format: 'float-quantized' }),
}

type Kind = 'fp8' | 'bf16' | 'f32'

/** A checkpoint of the same numbers of each kind: in FP8, and its values rounded to bf16 or f32. */
function stored(folder: string, layout: keyof typeof layouts, kind: Kind): string {
  const { block, suffix } = layouts[layout]
  const dir = copyCheckpoint(fixture('golden', folder))
  const file = path.join(dir, 'model.safetensors')
  const tensors = readStored(file)
  const random = new Random(1)
  for (const [name, { shape }] of [...tensors]) {
    if (!inFp8.test(name)) continue
    const [N, K] = shape as [number, number]
    const blocks = [Math.ceil(N / block[0]), Math.ceil(K / block[1])] as const
    // Finite codes of numbers up to 2, times scales around 1/8 that are no powers of two.
    const codes = Uint8Array.from({ length: N * K }, () => random.int(0x40) + 128 * random.int(2))
    const count = blocks[0] * blocks[1]
    const scales = Float32Array.from({ length: count }, () => (64 + random.int(99)) / 999)
    const value = (i: number) =>
      e4m3(codes[i]!) *
      scales[Math.floor(i / K / block[0]) * blocks[1] + Math.floor((i % K) / block[1])]!
    const bytes = (data: Uint16Array | Float32Array) => new Uint8Array(data.buffer)
    if (kind === 'fp8') {
      tensors.set(name, { dtype: 'F8_E4M3', shape, data: codes })
      tensors.set(name + suffix, { dtype: 'F32', shape: [...blocks], data: bytes(scales) })
    } else if (kind === 'bf16') {
      const data = bytes(Uint16Array.from(range(N * K), (i) => bf16Bits(value(i))))
      tensors.set(name, { dtype: 'BF16', shape, data })
    } else {
      const data = bytes(Float32Array.from(range(N * K), value))
      tensors.set(name, { dtype: 'F32', shape, data })
    }
  }
  writeStored(file, tensors)
  if (kind === 'fp8')
    editJson(path.join(dir, 'config.json'), (json) => {
      json.quantization_config =
        layout === 'channels' ? quantizations.channels() : quantizations.fp8(block)
    })
  return dir
}

const ids = range(20).map((i) => (i * 7 + 3) % 64)
const options = { logits: 'all', routing: true } as const
const expertFormats = ({ weights }: Model) =>
  weights.filter(({ part }) => part === 'experts').map(({ format }) => format)

describe.each(['qwen3_moe/dense-tied-bf16', 'deepseek_v3/yarn-bf16'])('FP8: %s', (folder) => {
  it.each(['blocks', 'channels'] as const)(
    'in %s, unpacked, is its weights in bf16',
    async (layout) => {
      const load = (kind: Kind) =>
        loadModel(stored(folder, layout, kind), {
          ...{ device: testDevice, dtype: 'f32', maxTokens: 64, weights: 'bf16' },
        })
      await using packed = await load('fp8')
      await using plain = await load('bf16')
      expect(packed.parameters).toEqual(plain.parameters)
      const [got, want] = [await packed.forward(ids, options), await plain.forward(ids, options)]
      expect(got.logits.every(Number.isFinite)).toBe(true)
      expect(got).toEqual(want)
    },
  )
})

describe('FP8 as the file has it, on the CPU', () => {
  const folder = 'qwen3_moe/dense-tied-bf16'
  const load = (layout: keyof typeof layouts, kind: Kind, weights: WeightsOption = 'auto') =>
    loadModel(stored(folder, layout, kind), { device: 'cpu', maxTokens: 64, weights })

  it.each(['wide blocks', 'channels'] as const)(
    '%s give the bits of their values in f32',
    async (layout) => {
      await using kept = await load(layout, 'fp8')
      await using plain = await load(layout, 'f32')
      expect(expertFormats(kept)).toEqual(['fp8'])
      expect(await kept.forward(ids, options)).toEqual(await plain.forward(ids, options))
    },
  )

  it('unpacks blocks that are narrower than a scale of 128, and makes int8 of FP8 where it is asked for', async () => {
    await using narrow = await load('blocks', 'fp8')
    expect(expertFormats(narrow)).toEqual(['bf16'])
    await using eight = await load('channels', 'fp8', 'int8')
    expect(expertFormats(eight)).toEqual(['int8'])
  })
})
