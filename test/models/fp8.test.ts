import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { copyCheckpoint, editJson, readStored, writeStored } from '../support/files.ts'
import { fixture, range } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'
import { bf16Bits } from '../support/weights.ts'

/** As publishers store them: all matrices of layers in blocks of 128 x 128, the router left alone. */
const inFp8 =
  /layers\.\d+\.(self_attn\.\w+_proj(_with_mqa)?|mlp\.(experts\.\d+\.|shared_experts\.)?(gate|up|down)_proj)\.weight$/
const block = [16, 8] as const // so that tiny matrices have several

/** Two checkpoints of the same numbers: in FP8, and unpacked to bf16. */
const both = (folder: string) =>
  ['fp8', 'bf16'].map((kind) => {
    const dir = copyCheckpoint(fixture('golden', folder))
    const file = path.join(dir, 'model.safetensors')
    const tensors = readStored(file)
    let seed = 1
    const random = (n: number) => {
      seed = (seed * 16807) % 2147483647
      return seed % n
    }
    for (const [name, { shape }] of [...tensors]) {
      if (!inFp8.test(name)) continue
      const [N, K] = shape as [number, number]
      const blocks = [Math.ceil(N / block[0]), Math.ceil(K / block[1])] as const
      // Finite codes of numbers up to 2, times scales around 1/8 that are no powers of two.
      const codes = Uint8Array.from({ length: N * K }, () => random(0x40) + 128 * random(2))
      const scales = Float32Array.from(
        { length: blocks[0] * blocks[1] },
        () => (64 + random(99)) / 999,
      )
      const value = (i: number) => {
        const code = codes[i]! % 128
        const [exponent, fraction] = [code >> 3, code % 8]
        const size = exponent ? (8 + fraction) * 2 ** (exponent - 10) : fraction * 2 ** -9
        const at = Math.floor(i / K / block[0]) * blocks[1] + Math.floor((i % K) / block[1])
        return (codes[i]! < 128 ? size : -size) * scales[at]!
      }
      if (kind === 'fp8') {
        tensors.set(name, { dtype: 'F8_E4M3', shape, data: codes })
        const data = new Uint8Array(scales.buffer)
        tensors.set(`${name}_scale_inv`, { dtype: 'F32', shape: [...blocks], data })
      } else {
        const data = new Uint8Array(
          Uint16Array.from(range(N * K), (i) => bf16Bits(value(i))).buffer,
        )
        tensors.set(name, { dtype: 'BF16', shape, data })
      }
    }
    writeStored(file, tensors)
    if (kind === 'fp8')
      editJson(path.join(dir, 'config.json'), (json) => {
        json.quantization_config = {
          quant_method: 'fp8',
          activation_scheme: 'dynamic',
          fmt: 'e4m3',
        }
        json.quantization_config.weight_block_size = block
      })
    return useModel(dir, { maxTokens: 64 })
  })

describe.each(['qwen3_moe/dense-tied-bf16', 'deepseek_v3/yarn-bf16'])(
  'FP8 blocks: %s',
  (folder) => {
    const [fp8, bf16] = both(folder)
    it('a model in FP8 blocks is the one of its weights rounded to bf16', async () => {
      const ids = range(20).map((i) => (i * 7 + 3) % 64)
      const [packed, plain] = [fp8!(), bf16!()]
      expect(packed.parameters).toEqual(plain.parameters)
      const options = { logits: 'all', routing: true } as const
      const [got, want] = [await packed.forward(ids, options), await plain.forward(ids, options)]
      expect(got.logits.every(Number.isFinite)).toBe(true)
      expect(got).toEqual(want)
    })
  },
)
