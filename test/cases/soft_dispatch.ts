import type { SoftDispatchInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { eachSegment, segmentRejects, segmentsOf } from '../support/segments.ts'
import { type OpCase, tensor, toF64 } from './case.ts'

type Shape = { lengths: number[]; H: number; E: number; P: number }

export const softDispatch: OpCase<Shape, Arrays<SoftDispatchInputs>> = {
  op: 'soft_dispatch',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { lengths: [13, 1, 26], H: 8, E: 4, P: 3 },
    { lengths: [0, 33], H: 261, E: 5, P: 14 }, // more than one part of each
    { lengths: [4], H: 7, E: 1, P: 1 },
    { lengths: [], H: 4, E: 2, P: 2 },
  ],
  inputs({ lengths, H, E, P }, random, dtype) {
    const segments = segmentsOf(lengths)
    const T = segments.data.at(-1)!
    const weights = tensor([T, E * P], 'f32', () => random.uniform())
    return { x: random.tensor([T, H], dtype), weights, segments, experts: E }
  },
  run: (i, options) => kernels.softDispatch(i, options),
  reference({ x, weights, segments }, { lengths, H, E, P }) {
    const [xs, w, B] = [toF64(x), toF64(weights), lengths.length]
    const value = new Float64Array(E * B * P * H)
    const magnitude = new Float64Array(value.length)
    eachSegment(segments, (tokens, b) => {
      for (let s = 0; s < E * P; s++)
        for (let h = 0; h < H; h++) {
          const at = ((Math.floor(s / P) * B + b) * P + (s % P)) * H + h
          for (const t of tokens) {
            value[at]! += w[t * E * P + s]! * xs[t * H + h]!
            magnitude[at]! += Math.abs(w[t * E * P + s]! * xs[t * H + h]!)
          }
        }
    })
    const offsets = Array.from({ length: E + 1 }, (_, e) => e * B * P)
    return { out: { value, magnitude }, offsets: { exact: offsets } }
  },
  terms: ({ lengths }) => Math.max(0, ...lengths),
  rejects: [
    ...segmentRejects(40),
    [
      'experts that do not divide the slots',
      'ERR_MOE_OPTION',
      'experts',
      (i) => ({ ...i, experts: 5 }),
    ],
    [
      'weights of other tokens',
      'ERR_MOE_SHAPE',
      'weights',
      (i) => ({ ...i, weights: tensor([39, 12], 'f32', () => 0) }),
    ],
  ],
}
