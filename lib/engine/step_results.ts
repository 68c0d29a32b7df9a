import type { NumberArray } from '../native.ts'
import { type Slice, type SliceResult, tokensOf } from './slice.ts'

/** Copies what one kind of output means for each slice into `out`. */
export type Reader = (results: NumberArray[], slices: Slice[], out: SliceResult[]) => void

export function readDrawn(
  [idAt, logprobAt]: [number, number],
  topAt: [number, number] | undefined,
  width: number,
): Reader {
  return (results, slices, out) => {
    let row = 0
    for (const [s, { draw }] of slices.entries()) {
      if (!draw) continue
      const top = Array.from({ length: draw.top }, (_, i) => ({
        id: results[topAt![0]]![row * width + i]!,
        logprob: results[topAt![1]]![row * width + i]!,
      }))
      out[s]!.drawn = { id: results[idAt]![row]!, logprob: results[logprobAt]![row]!, top }
      row++
    }
  }
}

export function readLogits(at: number, firstRow: number, vocabSize: number): Reader {
  return (results, slices, out) => {
    let row = firstRow
    for (const [s, { logitRows }] of slices.entries()) {
      const end = row + logitRows
      if (logitRows > 0)
        out[s]!.logits = results[at]!.subarray(row * vocabSize, end * vocabSize) as Float32Array
      row = end
    }
  }
}

/** Each slice's rows of a [tokens, width] result. */
function tokenRows<T extends NumberArray>(result: T, slices: Slice[], tokens: number): T[] {
  const width = result.length / tokens
  let t = 0
  return slices.map(({ take }) => {
    const rows = result.subarray(t * width, (t + take) * width) as T
    t += take
    return rows
  })
}

export function readHiddenStates(at: number[]): Reader {
  return (results, slices, out) => {
    const layers = at.map((i) => tokenRows(results[i] as Float32Array, slices, tokensOf(slices)))
    for (const [s, result] of out.entries()) result.hiddenStates = layers.map((layer) => layer[s]!)
  }
}

export function readRouting(at: number[][]): Reader {
  return (results, slices, out) => {
    const layers = at.map(([ids, weights, logits]) => {
      const rows = <T extends NumberArray>(i: number) =>
        tokenRows(results[i] as T, slices, tokensOf(slices))
      return {
        ids: rows<Int32Array>(ids!),
        weights: rows<Float32Array>(weights!),
        logits: rows<Float32Array>(logits!),
      }
    })
    for (const [s, result] of out.entries())
      result.routing = layers.map(({ ids, weights, logits }) => ({
        expertIds: ids[s]!,
        weights: weights[s]!,
        logits: logits[s]!,
      }))
  }
}
