import { MoeError } from '../errors.ts'
import { type MatrixEncoding, partShape } from './encoding.ts'
import { sourceShape } from './weights.ts'

const group = 32
const blockTypes = { U8: 'u8' } as const
const scaleTypes = { U8: 'u8', F8_E8M0: 'u8' } as const

/**
 * 4-bit floats with a power of two for every 32 of a row (OCP Microscaling Formats v1.0), as gpt-oss publishes its
 * experts: `name_blocks` [.., N, K / 32, 16] and `name_scales` [.., N, K / 32], outputs first also where the same
 * tensor in bf16 is transposed. Kept as it is, or unpacked to bf16, which holds the values exactly.
 */
export const mxfp4: MatrixEncoding = {
  parts: (name, entries) =>
    entries.has(`${name}_blocks`) ? [`${name}_blocks`, `${name}_scales`] : undefined,
  format: (_, { keep }) => (keep ? 'mxfp4' : 'bf16'),
  open(rows, { dir, open }) {
    const [N, K] = sourceShape(rows)
    if (K % group !== 0)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${dir}: rows of ${rows.name} must be a multiple of ${group} values for MXFP4, got ${K}`,
      )
    const part = (suffix: string, of: number[], dtypes: typeof blockTypes | typeof scaleTypes) => {
      const { shape, ...rest } = partShape(rows, of)
      return open(`${rows.name}_${suffix}`, shape, { ...rest, dtypes })
    }
    const blocks = part('blocks', [N, K / group, group / 2], blockTypes)
    const scales = part('scales', [N, K / group], scaleTypes)
    return { layout: 'mxfp4', shape: [N, K], values: blocks, scales, name: rows.name }
  },
}
