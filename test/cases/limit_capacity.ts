import type { LimitCapacityInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { eachSegment, placed, segmentRejects, segmentsOf } from '../support/segments.ts'
import { ints, type OpCase, tensor } from './case.ts'

type Shape = Pick<LimitCapacityInputs, 'experts' | 'capacity' | 'order' | 'threshold'> & {
  lengths: number[]
  K: number
  /** Weights are multiples of this, so that many are equal. */
  step?: number
}

/** Slots of one segment in the order in which they are served. */
function queue(tokens: number[], K: number, order: string, best: (t: number) => number) {
  const choices = Array.from({ length: K }, (_, k) => k)
  if (order === 'token') return tokens.flatMap((t) => choices.map((k) => t * K + k))
  const first = order === 'priority' ? [...tokens].sort((a, b) => best(b) - best(a)) : tokens
  return choices.flatMap((k) => first.map((t) => t * K + k))
}

export const limitCapacity: OpCase<Shape, Arrays<LimitCapacityInputs>> = {
  op: 'limit_capacity',
  dtypes: ['f32'],
  shapes: [
    { lengths: [13, 1, 26], experts: 4, K: 2, capacity: 3 },
    { lengths: [5, 0, 9], experts: 3, K: 3, capacity: 2, order: 'choice' },
    { lengths: [200, 57], experts: 8, K: 2, capacity: 20, order: 'priority', step: 0.125 },
    { lengths: [64], experts: 40, K: 2, capacity: 1, order: 'priority' },
    { lengths: [30, 30], experts: 5, K: 2, capacity: 7, order: 'choice', threshold: 0.4 },
    { lengths: [7], experts: 2, K: 1, capacity: 100 },
    { lengths: [], experts: 4, K: 2, capacity: 1 },
  ],
  inputs({ lengths, experts, K, step, ...options }, random) {
    const segments = segmentsOf(lengths)
    const T = segments.data.at(-1)!
    const drawn = Array.from({ length: T }, () => {
      const ids = Array.from({ length: experts }, (_, e) => e)
      const chosen = Array.from(
        { length: K },
        () => ids.splice(random.int(Math.min(ids.length, 3)), 1)[0]!,
      )
      const round = (w: number) => (step ? Math.round(w / step) * step : w)
      return { chosen, weights: chosen.map(() => round(random.uniform())).sort((a, b) => b - a) }
    })
    const ids = drawn.flatMap(({ chosen }) => chosen)
    const weights = drawn.flatMap((token) => token.weights)
    return {
      ids: ints([T, K], (i) => ids[i]!),
      weights: tensor([T, K], 'f32', (i) => weights[i]!),
      segments,
      experts,
      ...options,
    }
  },
  run: (i, options) => kernels.limitCapacity(i, options),
  reference({ ids, weights, segments, experts, capacity, order = 'token', threshold = 0 }) {
    const K = ids.shape[1]!
    const served = Array.from(ids.data, () => -1)
    eachSegment(segments, (tokens) => {
      const taken = new Array<number>(experts).fill(0)
      for (const slot of queue(tokens, K, order, (t) => weights.data[t * K]!)) {
        const id = ids.data[slot]!
        if (slot % K > 0 && !(weights.data[slot]! > threshold)) continue
        if (taken[id]!++ < capacity) served[slot] = id
      }
    })
    const { rows, offsets } = placed(served, experts)
    return { rows: { exact: rows }, offsets: { exact: offsets } }
  },
  terms: () => 0,
  rejects: [
    ...segmentRejects(40),
    ['an id beyond the experts', 'ERR_MOE_OPTION', 'ids', (i) => ({ ...i, experts: 1 })],
    ['no capacity', 'ERR_MOE_OPTION', 'capacity', (i) => ({ ...i, capacity: 0 })],
    [
      'an unknown order',
      'ERR_MOE_OPTION',
      'order',
      (i) => ({ ...i, order: 'random' as unknown as 'token' }),
    ],
    [
      'weights of another shape',
      'ERR_MOE_SHAPE',
      'weights',
      (i) => ({ ...i, weights: tensor([40, 3], 'f32', () => 1) }),
    ],
  ],
}
