import { MoeError } from '../errors.ts'
import { type Entries, type MatrixEncoding, partShape, type TensorSource } from './encoding.ts'
import type { Json } from './json.ts'
import type { Refuse } from './quantization.ts'
import { type Rows, sourceShape } from './weights.ts'

export interface Fp8Config {
  /** Rows and columns that share a scale; undefined: the whole matrix does. */
  block: [rows: number, columns: number] | undefined
  /** The shape of a matrix's scales says whether it is of blocks at all. */
  byShape?: boolean
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
  if (fmt !== 'e4m3' && fmt !== 'float8_e4m3fn') refuse('fmt', '"e4m3" or "float8_e4m3fn"')
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
 * 8-bit floats (E4M3) with scales, as DeepSeek-V3 publishes them: `name` [.., N, K] and `name_scale_inv`
 * [.., N / rows, K / columns], rounded up, or one scale of the whole matrix; compressed-tensors (`float-quantized`) have
 * `name_scale`, also one for each output. Kept where scales belong to whole rows or to 128 k, else unpacked to bf16.
 */
export const fp8: MatrixEncoding = {
  parts: (name, entries) =>
    entries.get(name)?.storedDtype === 'F8_E4M3' ? [name, scaleName(name, entries)] : undefined,
  format(rows, source) {
    const [, K] = sourceShape(rows)
    const [, columns] = blockOf(rows, source)
    if (!source.keep) return 'bf16'
    return columns >= K ? 'fp8' : columns % 128 === 0 ? 'fp8g128' : 'bf16'
  },
  open(rows, source) {
    const [N, K] = sourceShape(rows)
    if (rows.transposed)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${source.dir}: ${rows.name} must not be F8_E4M3 where it is stored transposed`,
      )
    const block = blockOf(rows, source)
    const { shape, ...part } = partShape(rows, [N, K])
    const values = source.open(rows.name, shape, { ...part, dtypes: valueTypes })
    const blocks = [Math.ceil(N / block[0]), Math.ceil(K / block[1])]
    const scales = openScales(rows, source, blocks)
    return { layout: 'fp8', shape: [N, K], block, values, scales, name: rows.name }
  },
}

/** Rows and columns of a matrix that share a scale. */
function blockOf(rows: Rows, { dir, entries, quantization }: TensorSource): [number, number] {
  const { fp8: config } = quantization
  if (!config)
    throw new MoeError(
      'ERR_MOE_CHECKPOINT',
      `${dir}: quantization_config of config.json must have quant_method "fp8" or "compressed-tensors" for ` +
        `${rows.name}, got another`,
    )
  const [N, K] = sourceShape(rows)
  const stored = entries.get(scaleName(rows.name, entries))?.shape ?? []
  const count = stored.reduce((n, dim) => n * dim, 1)
  if (config.byShape && count === 1) return [N, K]
  if (config.byShape && count === N && stored[0] === N) return [1, K]
  return config.block ?? [N, K]
}

/** Scales of a matrix may be stored without dimensions, or as a list. */
function openScales(rows: Rows, { entries, open }: TensorSource, blocks: number[]) {
  const name = scaleName(rows.name, entries)
  const { shape, ...part } = partShape(rows, blocks)
  const stored = entries.get(name)?.shape
  const [count] = blocks
  const list = rows.slab === undefined && blocks[1] === 1 && stored && stored.length < 2
  const asStored = list && (stored.length === 1 || count === 1) ? stored.map(() => count!) : shape
  return open(name, asStored, { ...part, dtypes: scaleTypes })
}
