import type { SegmentMeanInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { eachSegment, segmentRejects, segmentsOf } from '../support/segments.ts'
import { type DType, type OpCase, tensor, toF64 } from './case.ts'

type Shape = { lengths: number[]; H: number; x?: DType }

export const segmentMean: OpCase<Shape, Arrays<SegmentMeanInputs>> = {
  op: 'segment_mean',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { lengths: [13, 1, 26], H: 8 },
    { lengths: [0, 5], H: 301, x: 'bf16' },
    { lengths: [], H: 3 },
  ],
  inputs({ lengths, H, x = 'f32' }, random, dtype) {
    const segments = segmentsOf(lengths)
    return { x: random.tensor([segments.data.at(-1)!, H], x), segments, dtype }
  },
  run: (i, options) => kernels.segmentMean(i, options),
  reference({ x, segments }, { lengths, H }) {
    const xs = toF64(x)
    const value = new Float64Array(lengths.length * H)
    const magnitude = new Float64Array(value.length)
    eachSegment(segments, (tokens, b) => {
      for (const t of tokens)
        for (let h = 0; h < H; h++) {
          value[b * H + h]! += xs[t * H + h]! / tokens.length
          magnitude[b * H + h]! += Math.abs(xs[t * H + h]! / tokens.length)
        }
    })
    return { out: { value, magnitude } }
  },
  terms: ({ lengths }) => Math.max(0, ...lengths) + 1,
  rejects: [
    ...segmentRejects(40),
    [
      'rows of one dimension',
      'ERR_MOE_SHAPE',
      'x',
      (i) => ({ ...i, x: tensor([40], 'f32', () => 0) }),
    ],
  ],
}
