import type { SoftWeightsInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { eachSegment, segmentRejects, segmentsOf } from '../support/segments.ts'
import { type OpCase, tensor, toF64 } from './case.ts'

type Shape = { lengths: number[]; S: number }

export const softWeights: OpCase<Shape, Arrays<SoftWeightsInputs>> = {
  op: 'soft_weights',
  dtypes: ['f32'],
  shapes: [
    { lengths: [13, 1, 26], S: 12 },
    { lengths: [0, 70], S: 300 },
    { lengths: [1], S: 1 },
    { lengths: [], S: 4 },
  ],
  inputs({ lengths, S }, random) {
    const segments = segmentsOf(lengths)
    return { logits: random.tensor([segments.data.at(-1)!, S], 'f32', 3), segments }
  },
  run: (i, options) => kernels.softWeights(i, options),
  reference({ logits, segments }, { S }) {
    const z = toF64(logits)
    const [dispatch, combine] = [new Float64Array(z.length), new Float64Array(z.length)]
    const softmax = (at: number[], out: Float64Array) => {
      const top = Math.max(...at.map((i) => z[i]!))
      const total = at.reduce((sum, i) => sum + Math.exp(z[i]! - top), 0)
      for (const i of at) out[i] = Math.exp(z[i]! - top) / total
    }
    const slots = Array.from({ length: S }, (_, s) => s)
    eachSegment(segments, (tokens) => {
      for (const t of tokens)
        softmax(
          slots.map((s) => t * S + s),
          combine,
        )
      for (const s of slots)
        softmax(
          tokens.map((t) => t * S + s),
          dispatch,
        )
    })
    return {
      dispatch: { value: dispatch, magnitude: dispatch },
      combine: { value: combine, magnitude: combine },
    }
  },
  terms: ({ lengths, S }) => Math.max(S, ...lengths, 1) + 20,
  rejects: [
    ...segmentRejects(40),
    [
      'logits of one dimension',
      'ERR_MOE_SHAPE',
      'logits',
      (i) => ({ ...i, logits: tensor([40], 'f32', () => 0) }),
    ],
  ],
}
