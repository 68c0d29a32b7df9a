import type { SoftCombineInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { eachSegment, segmentRejects, segmentsOf } from '../support/segments.ts'
import { type OpCase, tensor, toF64 } from './case.ts'

type Shape = { lengths: number[]; H: number; E: number; P: number }

export const softCombine: OpCase<Shape, Arrays<SoftCombineInputs>> = {
  op: 'soft_combine',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { lengths: [13, 1, 26], H: 8, E: 4, P: 3 },
    { lengths: [0, 3, 0, 67], H: 261, E: 5, P: 7 }, // more than one part of each
    { lengths: [4], H: 7, E: 1, P: 1 },
    { lengths: [], H: 4, E: 2, P: 2 },
  ],
  inputs({ lengths, H, E, P }, random, dtype) {
    const segments = segmentsOf(lengths)
    const T = segments.data.at(-1)!
    return {
      expertOut: random.tensor([E * lengths.length * P, H], dtype),
      weights: tensor([T, E * P], 'f32', () => random.uniform()),
      segments,
      residual: random.tensor([T, H]),
      experts: E,
    }
  },
  run: (i, options) => kernels.softCombine(i, options),
  reference({ expertOut, weights, segments, residual }, { lengths, H, E, P }) {
    const [ys, w, B] = [toF64(expertOut), toF64(weights), lengths.length]
    const value = toF64(residual)
    const magnitude = value.map(Math.abs)
    eachSegment(segments, (tokens, b) => {
      for (let s = 0; s < E * P; s++)
        for (let h = 0; h < H; h++) {
          const y = ys[((Math.floor(s / P) * B + b) * P + (s % P)) * H + h]!
          for (const t of tokens) {
            value[t * H + h]! += w[t * E * P + s]! * y
            magnitude[t * H + h]! += Math.abs(w[t * E * P + s]! * y)
          }
        }
    })
    return { out: { value, magnitude } }
  },
  terms: ({ E, P }) => E * P + 1,
  rejects: [
    ...segmentRejects(40),
    [
      'experts that do not divide the slots',
      'ERR_MOE_OPTION',
      'experts',
      (i) => ({ ...i, experts: 5 }),
    ],
    [
      'rows of fewer experts',
      'ERR_MOE_SHAPE',
      'expertOut',
      (i) => ({ ...i, expertOut: tensor([24, 8], 'f32', () => 0) }),
    ],
  ],
}
