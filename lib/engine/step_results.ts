import type { NumberArray } from '../native.ts'
import { type ChunkResult, drawsOf, type ScheduledChunk, tokensOf } from './chunk.ts'
import type { LayerRouting } from './trace.ts'

/** A step's outputs by name. */
export type Results = { readonly [name: string]: NumberArray }

/** Copies what one kind of output means for each chunk into `out`. */
export type Reader = (results: Results, chunks: ScheduledChunk[], out: ChunkResult[]) => void

/** Row i of `ids` and `logprobs` belongs to the i-th draw of the chunks. */
export const readSampled =
  (width: number): Reader =>
  ({ ids, logprobs, topIds, topLogprobs, nonFinite }, chunks, out) => {
    let row = 0
    for (const [c, chunk] of chunks.entries()) {
      const drawn = drawsOf(chunk).map((draw) => {
        const top = Array.from({ length: draw.top }, (_, i) => ({
          id: topIds![row * width + i]!,
          logprob: topLogprobs![row * width + i]!,
        }))
        const own = { id: ids![row]!, logprob: logprobs![row]!, top, nonFinite: nonFinite![row]! }
        row++
        return own
      })
      if (chunk.sample) out[c]!.sampled = drawn.pop()!
      if (chunk.scores) out[c]!.scored = drawn
    }
  }

/** @param firstRow behind the rows that are sampled from */
export const readLogits =
  (firstRow: number, vocabSize: number): Reader =>
  ({ logits }, chunks, out) => {
    let row = firstRow
    for (const [c, { logitRows }] of chunks.entries()) {
      const end = row + logitRows
      if (logitRows > 0)
        out[c]!.logits = logits!.subarray(row * vocabSize, end * vocabSize) as Float32Array
      row = end
    }
  }

/** Each chunk's rows of a [tokens, width] result. */
function tokenRows<T extends NumberArray>(result: T, chunks: ScheduledChunk[]): T[] {
  const width = result.length / tokensOf(chunks)
  let t = 0
  return chunks.map(({ numTokens }) => {
    const rows = result.subarray(t * width, (t + numTokens) * width) as T
    t += numTokens
    return rows
  })
}

export const readHiddenStates =
  (numLayers: number): Reader =>
  (results, chunks, out) => {
    for (const result of out) result.hiddenStates = []
    for (let l = 0; l < numLayers; l++)
      for (const [c, rows] of tokenRows(results[`hidden.${l}`] as Float32Array, chunks).entries())
        out[c]!.hiddenStates!.push(rows)
  }

/** A layer without a router has no outputs. */
export const readRouting =
  (numLayers: number): Reader =>
  (results, chunks, out) => {
    const layers = Array.from({ length: numLayers }, (_, l): LayerRouting[] | undefined => {
      if (!results[`expertIds.${l}`]) return undefined
      const expertIds = tokenRows(results[`expertIds.${l}`] as Int32Array, chunks)
      const weights = tokenRows(results[`expertWeights.${l}`] as Float32Array, chunks)
      const logits = tokenRows(results[`routerLogits.${l}`] as Float32Array, chunks)
      return expertIds.map((ids, c) => ({
        expertIds: ids,
        weights: weights[c]!,
        logits: logits[c]!,
      }))
    })
    for (const [c, result] of out.entries()) result.routing = layers.map((layer) => layer?.[c])
  }
