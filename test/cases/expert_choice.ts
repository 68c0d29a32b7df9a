import type { ExpertChoiceInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { eachSegment, placed, segmentRejects, segmentsOf } from '../support/segments.ts'
import { ints, type OpCase, tensor, toF64 } from './case.ts'

type Shape = { lengths: number[]; E: number; capacity: number; same?: boolean; nan?: number }

/** Softmax of each token; NaN where a logit is. */
function shares(logits: Float64Array, E: number): Float64Array {
  return logits.map((z, i) => {
    const row = logits.subarray(i - (i % E), i - (i % E) + E)
    const top = Math.max(...row)
    return Math.exp(z - top) / row.reduce((sum, v) => sum + Math.exp(v - top), 0)
  })
}

export const expertChoice: OpCase<Shape, Arrays<ExpertChoiceInputs>> = {
  op: 'expert_choice',
  dtypes: ['f32'],
  shapes: [
    { lengths: [13, 1, 26], E: 4, capacity: 5 },
    { lengths: [8, 0, 3], E: 3, capacity: 2, same: true },
    { lengths: [300], E: 40, capacity: 9 },
    { lengths: [9, 9], E: 6, capacity: 8, nan: 4 },
    { lengths: [5], E: 1, capacity: 100 },
    { lengths: [], E: 4, capacity: 1 },
  ],
  inputs({ lengths, E, capacity, same, nan }, random) {
    const segments = segmentsOf(lengths)
    const logits = tensor([segments.data.at(-1)!, E], 'f32', () => (same ? 1 : random.normal()))
    if (nan !== undefined) logits.data[nan * E] = Number.NaN
    return { logits, segments, capacity }
  },
  run: (i, options) => kernels.expertChoice(i, options),
  reference({ logits, segments, capacity }, { E }) {
    const p = shares(toF64(logits), E)
    const key = (t: number, e: number) => (Number.isNaN(p[t * E + e]!) ? -1 : p[t * E + e]!)
    const taken = Array.from(p, () => -1)
    eachSegment(segments, (tokens) => {
      for (let e = 0; e < E; e++)
        for (const t of [...tokens].sort((a, b) => key(b, e) - key(a, e)).slice(0, capacity))
          taken[t * E + e] = e
    })
    const { rows, offsets } = placed(taken, E)
    return {
      ids: { exact: taken.map((_, i) => i % E) },
      weights: { value: p, magnitude: p.map((w) => (E + 8) * w) },
      rows: { exact: rows },
      offsets: { exact: offsets },
    }
  },
  terms: () => 0,
  rejects: [
    ...segmentRejects(40),
    ['no capacity', 'ERR_MOE_OPTION', 'capacity', (i) => ({ ...i, capacity: 0 })],
    [
      'logits of integers',
      'ERR_MOE_DTYPE',
      'logits',
      (i) => ({ ...i, logits: ints([40, 4], () => 0) }),
    ],
  ],
}
