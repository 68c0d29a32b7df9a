import type { ActivationDType, DType, EncodedMatrix, Tensor, WeightFormat } from '../native.ts'
import type { Quantization } from './quantization.ts'
import type { Entry } from './safetensors.ts'
import type { Rows } from './weights.ts'

export type Entries = ReadonlyMap<string, Entry>

/** Tensors of a checkpoint, for those who decode them. */
export interface TensorSource {
  dir: string
  entries: Entries
  quantization: Quantization
  /** What integers are unpacked to. */
  dtype: ActivationDType
  /** A format that holds the file's codes or integers may be taken. */
  keep: boolean
  /** The tensor of that shape, or its part `slab` as `view`, where it is in the file. Checked against `dtypes`. */
  open(
    name: string,
    shape: number[],
    options?: {
      view?: number[]
      slab?: number | undefined
      dtypes?: Readonly<Record<string, DType>>
    },
  ): Tensor
}

/** How a file holds a matrix, where it is not by its values. */
export interface MatrixEncoding {
  /** Names of the tensors that stand for the matrix; undefined: it is stored otherwise. */
  parts(name: string, entries: Entries): string[] | undefined
  /** What it becomes when nothing else is asked for. */
  format(rows: Rows, source: TensorSource): WeightFormat
  /** The matrix [N, K] that `rows` are of, where the file has it. Checks names, shapes and dtypes. */
  open(rows: Rows, source: TensorSource): EncodedMatrix
}

/** Shapes of a part of a matrix: `of` each of its slabs, or of the only one. */
export function partShape({ slab, shape }: Rows, of: number[]) {
  return { shape: slab === undefined ? of : [shape[0]!, ...of], view: of, slab }
}

/** A module's name, of its weight's. */
export const moduleOf = (name: string): string =>
  name.endsWith('.weight') ? name.slice(0, -'.weight'.length) : name
