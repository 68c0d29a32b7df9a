import { MoeError } from '../errors.ts'
import { native } from '../native.ts'
import { type Entries, type MatrixEncoding, partShape, type TensorSource } from './encoding.ts'
import type { Json } from './json.ts'
import type { Refuse } from './quantization.ts'
import { type Rows, sourceShape } from './weights.ts'

export interface Fp8Config {
  /** Rows and columns that share a scale; undefined: the whole matrix does. */
  block: [rows: number, columns: number] | undefined
}

const valueTypes = { F8_E4M3: 'u8' } as const
const scaleTypes = { F32: 'f32', BF16: 'bf16', F16: 'f16', F8_E8M0: 'u8' } as const

/**
 * Activations stay what they are, whatever their published kernels round them to: so only a file whose scales of
 * activations are found at run time is the model that it was made from.
 */
export function parseFp8(json: Json, refuse: Refuse): Fp8Config {
  const { activation_scheme: scheme = 'dynamic', fmt = 'e4m3', weight_block_size: block } = json
  if (scheme !== 'dynamic') refuse('activation_scheme', '"dynamic"')
  if (fmt !== 'e4m3') refuse('fmt', '"e4m3"')
  if (block === undefined || block === null) return { block: undefined }
  const size = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1
  if (!Array.isArray(block) || block.length !== 2 || !block.every(size))
    refuse('weight_block_size', 'null or two sizes')
  return { block: block as [number, number] }
}

/** Whatever the name says, the scale multiplies. */
const scaleName = (name: string, entries: Entries): string =>
  entries.has(`${name}_scale`) ? `${name}_scale` : `${name}_scale_inv`

/**
 * 8-bit floats (E4M3) with a scale for each block, as DeepSeek-V3 publishes them: `name` [.., N, K] and
 * `name_scale_inv` [.., N / rows, K / columns], rounded up; or one scale of the whole matrix. Unpacked to bf16.
 */
export const fp8: MatrixEncoding = {
  parts: (name, entries) =>
    entries.get(name)?.storedDtype === 'F8_E4M3' ? [name, scaleName(name, entries)] : undefined,
  format: () => 'bf16',
  open(rows, source) {
    const [N, K] = sourceShape(rows)
    const { fp8: config } = source.quantization
    if (!config)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${source.dir}: quantization_config of config.json must have quant_method "fp8" for ${rows.name}, got another`,
      )
    if (rows.transposed)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${source.dir}: ${rows.name} must not be F8_E4M3 where it is stored transposed`,
      )
    const { shape, ...part } = partShape(rows, [N, K])
    const values = source.open(rows.name, shape, { ...part, dtypes: valueTypes })
    const [blockRows, blockColumns] = config.block ?? [N, K]
    const scales = openScales(rows, source, [Math.ceil(N / blockRows), Math.ceil(K / blockColumns)])
    return async () => {
      const out = native().tensor([N, K], 'bf16')
      await native().unpackFp8(values, scales, blockRows, blockColumns, out)
      return out
    }
  },
}

/** One scale of a matrix may be stored without dimensions, or as a list of one. */
function openScales(rows: Rows, { entries, open }: TensorSource, blocks: number[]) {
  const name = scaleName(rows.name, entries)
  const { shape, ...part } = partShape(rows, blocks)
  const stored = entries.get(name)?.shape
  const alone = rows.slab === undefined && blocks.every((n) => n === 1)
  const asStored = alone && stored && stored.length < 2 ? stored.map(() => 1) : shape
  return open(name, asStored, { ...part, dtypes: scaleTypes })
}
