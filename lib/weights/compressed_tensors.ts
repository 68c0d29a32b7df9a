import { MoeError } from '../errors.ts'
import type { DType, IntegerMatrix } from '../native.ts'
import { moduleOf, partShape } from './encoding.ts'
import { absent, integerEncoding } from './integers.ts'
import type { Json } from './json.ts'
import type { Quantization, Refuse } from './quantization.ts'
import { entryDType } from './safetensors.ts'
import { sourceShape } from './weights.ts'

const formats = ['pack-quantized', 'int-quantized', 'float-quantized', 'mixed-precision']
const isSize = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1

/** Blocks of the 8-bit floats, as the groups of layers name them. */
function parseBlock(groups: unknown, refuse: Refuse): [number, number] | undefined {
  for (const group of Object.values((groups as Record<string, Json> | null) ?? {})) {
    const { type, block_structure: block, group_size: size } = (group?.weights as Json | null) ?? {}
    if (type !== 'float') continue
    if (isSize(size)) return [1, size as number]
    if (block === undefined || block === null) continue
    if (!Array.isArray(block) || block.length !== 2 || !block.every(isSize))
      refuse('config_groups', 'groups whose block_structure has two sizes')
    return block as [number, number]
  }
  return undefined
}

const integerGroups = (groups: unknown): Json[] => {
  const all = Object.values((groups as Record<string, Json> | null) ?? {})
  const weights = all.map((group) => (group?.weights as Json | null) ?? {})
  // No group says nothing.
  const integers = weights.filter(({ type }) => type === 'int')
  return integers.length > 0 ? integers : [{}]
}

/** llm-compressor's; shapes and names of the tensors say how each matrix is stored. */
export function parseCompressed(json: Json, refuse: Refuse): Quantization {
  if (!formats.includes(json.format as string))
    refuse('format', formats.map((name) => `"${name}"`).join(', '))
  const { transform_config: transforms } = json
  if (transforms && Object.keys(transforms).length > 0)
    refuse('transform_config', 'absent, since rotations of activations are not run')
  const unused = { bits: 4, group: 0, ordered: true, zeroShift: false } as const
  const symmetric = !integerGroups(json.config_groups).every((one) => one.symmetric === false)
  return {
    integers: { method: 'compressed-tensors', ...unused, symmetric },
    fp8: { block: parseBlock(json.config_groups, refuse), byShape: true },
  }
}

const bytes = { I8: 'u8' } as const

/**
 * Integers packed along inputs, `weight_packed`, or one a byte, `weight` in I8, with `weight_scale` [outputs, groups] and
 * perhaps `weight_zero_point` packed along outputs and `weight_g_idx`, the group of each input. Of stacked matrices the
 * parts are stacked, too.
 */
export const compressedTensors = integerEncoding(
  (name, entries) => {
    const layer = moduleOf(name)
    const packed = entries.has(`${layer}.weight_packed`)
    if (!packed && entries.get(name)?.storedDtype !== 'I8') return undefined
    const beside = ['scale', 'zero_point', 'shape', 'g_idx'].map(
      (part) => `${layer}.weight_${part}`,
    )
    return [packed ? `${layer}.weight_packed` : name, ...beside.filter((part) => entries.has(part))]
  },
  (rows, { dir, entries, quantization, open }) => {
    const name = moduleOf(rows.name)
    const part = (of: string) => entries.get(`${name}.weight_${of}`)
    if (quantization.integers?.method !== 'compressed-tensors')
      absent(dir, name, 'quantization_config of compressed-tensors')
    const shape = sourceShape(rows)
    const [N, K] = shape
    const scale = part('scale') ?? absent(dir, name, 'weight_scale')
    const ofRow = scale.shape.length === 1
    const groups = ofRow ? 1 : scale.shape.at(-1)!
    const group = groups === 1 ? 0 : K / groups
    const packed = part('packed')
    const zeros = part('zero_point')
    if (packed && !zeros && !quantization.integers!.symmetric)
      absent(dir, `${name}, which config_groups says to be asymmetric`, 'weight_zero_point')
    if (!Number.isInteger(group) || (zeros && !packed))
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${scale.label}: ${name} must have ${zeros ? 'no zero points of bytes' : 'groups of one size'}, got ` +
          `${zeros ? 'some' : `${groups} of ${K} inputs`}`,
      )
    const bits = packed && packed.shape.at(-1) === Math.ceil(K / 8) ? 4 : 8
    const openPart = (of: string, matrix: number[], dtypes?: Readonly<Record<string, DType>>) => {
      const { shape: all, ...which } = partShape(rows, matrix)
      return open(of, all, { ...which, ...(dtypes && { dtypes }) })
    }
    const scales = ofRow ? open(scale.name, [N]) : openPart(scale.name, [N, groups])
    const matrix: IntegerMatrix = {
      layout: packed ? 'packed' : 'bytes',
      ...{ bits, group, shape, zeroShift: false, name },
      values: packed
        ? openPart(packed.name, [N, Math.ceil((K * bits) / 32)])
        : openPart(rows.name, [N, K], bytes),
      zeros: zeros && open(zeros.name, [Math.ceil((N * bits) / 32), groups]),
      scales: ofRow ? scales.view(0, [N, 1], entryDType(scale)) : scales,
      order: part('g_idx') && open(`${name}.weight_g_idx`, [K]),
    }
    return { matrix, symmetric: !zeros, ordered: !matrix.order }
  },
)
