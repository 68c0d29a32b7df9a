import type { ArrayTensor } from '../../lib/standalone/kernels.ts'
import { ints } from '../cases/case.ts'

/** Lengths of segments as their offsets [B + 1]. */
export function segmentsOf(lengths: readonly number[]): ArrayTensor {
  const ends = [0]
  for (const length of lengths) ends.push(ends.at(-1)! + length)
  return ints([ends.length], (i) => ends[i]!)
}

/** Calls `each` with the tokens of every segment. */
export function eachSegment({ data }: ArrayTensor, each: (tokens: number[], b: number) => void) {
  for (let b = 0; b + 1 < data.length; b++) {
    const [begin, end] = [data[b]!, data[b + 1]!]
    each(
      Array.from({ length: end - begin }, (_, i) => begin + i),
      b,
    )
  }
}

/** Rows of slots grouped by id, in slot order: an entry of `ids` that is negative has none. */
export function placed(
  ids: readonly number[],
  groups: number,
): { rows: number[]; offsets: number[] } {
  const rows = ids.map(() => -1)
  const offsets = [0]
  let next = 0
  for (let g = 0; g < groups; g++) {
    for (const [slot, id] of ids.entries()) if (id === g) rows[slot] = next++
    offsets.push(next)
  }
  return { rows, offsets }
}

/** Segments that end beyond or before the tokens, or do not ascend. */
export const segmentRejects = (tokens: number) =>
  [
    ['segments that end too early', 'ERR_MOE_OPTION', 'segments', [tokens - 1, 0, 0]],
    ['segments beyond the tokens', 'ERR_MOE_OPTION', 'segments', [tokens + 1, 0, 0]],
    ['segments that do not ascend', 'ERR_MOE_OPTION', 'segments', [tokens, -1, 1]],
  ].map(
    ([what, code, argument, lengths]) =>
      [
        what,
        code,
        argument,
        (inputs: object) => ({ ...inputs, segments: segmentsOf(lengths as number[]) }),
      ] as [string, string, string, (inputs: any) => any],
  )
