import type { NumberArray } from '../native.ts'
import { type Slice, type SliceResult, tokensOf } from './slice.ts'

/** A step's outputs by name. */
export type Results = { [name: string]: NumberArray }
/** Copies what one kind of output means for each slice into `out`. */
export type Reader = (results: Results, slices: Slice[], out: SliceResult[]) => void

export function readDrawn(width: number): Reader {
  return ({ ids, logprobs, topIds, topLogprobs }, slices, out) => {
    let row = 0
    for (const [s, { draw }] of slices.entries()) {
      if (!draw) continue
      const top = Array.from({ length: draw.top }, (_, i) => ({
        id: topIds![row * width + i]!,
        logprob: topLogprobs![row * width + i]!,
      }))
      out[s]!.drawn = { id: ids![row]!, logprob: logprobs![row]!, top }
      row++
    }
  }
}

export function readLogits(firstRow: number, vocabSize: number): Reader {
  return ({ logits }, slices, out) => {
    let row = firstRow
    for (const [s, { logitRows }] of slices.entries()) {
      const end = row + logitRows
      if (logitRows > 0)
        out[s]!.logits = logits!.subarray(row * vocabSize, end * vocabSize) as Float32Array
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

export function readHiddenStates(numLayers: number): Reader {
  return (results, slices, out) => {
    const layers = Array.from({ length: numLayers }, (_, l) =>
      tokenRows(results[`hidden.${l}`] as Float32Array, slices, tokensOf(slices)),
    )
    for (const [s, result] of out.entries()) result.hiddenStates = layers.map((layer) => layer[s]!)
  }
}

export function readRouting(numLayers: number): Reader {
  return (results, slices, out) => {
    const layers = Array.from({ length: numLayers }, (_, l) => {
      const rows = <T extends NumberArray>(name: string) =>
        tokenRows(results[`${name}.${l}`] as T, slices, tokensOf(slices))
      return {
        ids: rows<Int32Array>('expertIds'),
        weights: rows<Float32Array>('expertWeights'),
        logits: rows<Float32Array>('routerLogits'),
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
