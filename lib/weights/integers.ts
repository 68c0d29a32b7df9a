import { MoeError } from '../errors.ts'
import type { IntegerMatrix, WeightFormat } from '../native.ts'
import type { MatrixEncoding, TensorSource } from './encoding.ts'
import type { Rows } from './weights.ts'

/** What a file says about its integers; compressed-tensors' say it by their shapes. */
export interface IntegerConfig {
  method: 'gptq' | 'awq' | 'compressed-tensors'
  bits: 4 | 8
  /** Values of k that share a scale; 0: a row. */
  group: number
  /** Zero points are in the middle, as promised: a matrix of which one is not is quantised again. */
  symmetric: boolean
  /** Groups are of consecutive k. */
  ordered: boolean
  /** Zero points are stored less one. */
  zeroShift: boolean
}

/** A matrix as the file has it, checked, and what is promised of it. */
export interface IntegerSource {
  matrix: IntegerMatrix
  symmetric: boolean
  ordered: boolean
}

/** The format that has a matrix's very integers and scales; undefined where none has. */
function exactFormat({ matrix, symmetric, ordered }: IntegerSource): WeightFormat | undefined {
  const { bits, group, shape } = matrix
  const K = shape[1]!
  const whole = group === 0 || group >= K
  const divides = (size: number) => (whole ? K % size === 0 : group % size === 0)
  if (!ordered) return undefined
  if (bits === 8) {
    if (!symmetric) return undefined
    return whole ? 'int8' : divides(128) ? 'int8g128' : undefined
  }
  if (!divides(32) && !whole) return undefined
  if (divides(128)) return symmetric ? 'int4g128' : 'int4g128z'
  return symmetric ? 'int4g32' : 'int4g32z'
}

/** An encoding by integers: kept as they are where a format has them, else in 8 bits, at next to no loss. */
export const integerEncoding = (
  parts: MatrixEncoding['parts'],
  read: (rows: Rows, source: TensorSource) => IntegerSource,
): MatrixEncoding => ({
  parts,
  format: (rows, source) =>
    source.keep ? (exactFormat(read(rows, source)) ?? 'int8g128') : source.dtype,
  open(rows, source) {
    if (rows.transposed)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${source.dir}: ${rows.name} must not be of integers where it is stored transposed`,
      )
    return read(rows, source).matrix
  },
})

export function absent(dir: string, what: string, wanted: string): never {
  throw new MoeError('ERR_MOE_CHECKPOINT', `${dir}: ${wanted} must exist for ${what}, got nothing`)
}
