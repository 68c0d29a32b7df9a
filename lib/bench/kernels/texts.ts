import * as ops from '../../ops/index.ts'
import type { ArrayTensor } from '../../standalone/kernels.ts'
import type { Workbench } from '../workbench.ts'

const block = ops.blockTokens

/** Texts in a cache, block behind block. */
export interface Texts {
  sequences: number
  context: number
  /** At each text's end. */
  tokens: number
}

export const positionOf = ({ context, tokens }: Texts, t: number): number =>
  context - tokens + (t % tokens)

/** Where the tokens stand and what they see, as attention takes it. */
export function places(bench: Workbench, texts: Texts) {
  const { sequences, context, tokens } = texts
  const [M, T] = [Math.ceil(context / block), sequences * tokens]
  const ints = (shape: number[], value: (i: number) => number) => {
    const n = shape.reduce((a, b) => a * b, 1)
    return bench.numbers(
      Int32Array.from({ length: n }, (_, i) => value(i)),
      shape,
    )
  }
  return {
    starts: ints([T], () => 0),
    ends: ints([T], (t) => positionOf(texts, t)),
    sequences: ints([T], (t) => Math.floor(t / tokens)),
    blockTable: ints([sequences, M], (i) => i),
  }
}

/** The same for the last T tokens of one text, as the public ops take it. */
export function lastTokens(
  T: number,
  context: number,
): Record<'positions' | 'starts' | 'sequences' | 'blockTable', ArrayTensor> {
  const M = Math.ceil(context / block)
  const zeros = { data: new Int32Array(T), shape: [T] }
  return {
    positions: { data: Int32Array.from(zeros.data, (_, t) => context - T + t), shape: [T] },
    ...{ starts: zeros, sequences: zeros },
    blockTable: { data: Int32Array.from({ length: M }, (_, i) => i), shape: [1, M] },
  }
}

/** Sum of `value` weighed by softmax of the scores; and 8 times that of its absolute terms. */
export function attended(scores: number[], value: (s: number) => number): [number, number] {
  const top = Math.max(...scores)
  const shares = scores.map((score) => Math.exp(score - top))
  const total = shares.reduce((a, b) => a + b)
  let [sum, size] = [0, 0]
  for (const [s, share] of shares.entries()) {
    const term = (share / total) * value(s)
    sum += term
    size += 8 * Math.abs(term)
  }
  return [sum, size]
}
