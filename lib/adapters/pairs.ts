import { type Gpu, native, type RowRun, type Tensor } from '../native.ts'
import { type Entry, entryDType, floats } from '../weights/safetensors.ts'

/** A matrix of a file; `turned`: its transpose is meant. */
export interface Stored {
  entry: Entry
  turned: boolean
}

/** The tensor of an entry, where it lies in the file. */
export const openEntry = ({ file, offset, shape, ...entry }: Entry): Tensor =>
  file.tensor(offset, shape, entryDType({ file, offset, shape, ...entry }, floats))

/** Calls `body` with the matrix as it is meant. */
async function upright<T>({ entry, turned }: Stored, body: (matrix: Tensor) => Promise<T>) {
  const source = openEntry(entry)
  if (!turned) return body(source)
  const [rows, columns] = source.shape as [number, number]
  const matrix = native().tensor([columns, rows], source.dtype)
  try {
    await native().transpose(source, matrix)
    return await body(matrix)
  } finally {
    matrix.release()
  }
}

/**
 * Two matrices of rank r as the op `lora` takes them: [r, K + N] f32, row j of A, then row j of B times `scale`.
 *
 * @param a [r, K]
 * @param b [r, N]
 * @param gpu where it goes; undefined: host memory
 */
export function loadPair(a: Stored, b: Stored, scale: number, gpu: Gpu | undefined) {
  return upright(a, (down) =>
    upright(b, async (up) => {
      const [r, K] = down.shape as [number, number]
      const N = up.shape[1]!
      const scaled = native().tensor([r, N], 'f32')
      try {
        await native().copyToF32(scaled, [[up, 0, r]], scale)
        const pair = native().tensor([r, K + N], 'f32', gpu)
        const rows = Array.from({ length: r }, (_, j): RowRun[] => [
          [down, j, 1],
          [scaled, j, 1],
        ])
        await native().copyToF32(pair, rows.flat(), 1)
        return pair
      } finally {
        scaled.release()
      }
    }),
  )
}
