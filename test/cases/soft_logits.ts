import type { SoftLogitsInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { type OpCase, output, tensor, toF64 } from './case.ts'

type Shape = { T: number; H: number; S: number; zero?: boolean }

export const softLogits: OpCase<Shape, Arrays<SoftLogitsInputs>> = {
  op: 'soft_logits',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 9, H: 12, S: 12 },
    { T: 2, H: 300, S: 270 },
    { T: 3, H: 4, S: 1, zero: true },
    { T: 0, H: 4, S: 2 },
  ],
  inputs: ({ T, H, S, zero }, random, dtype) => ({
    x: random.tensor([T, H], dtype, zero ? 0 : 1),
    slots: random.tensor([H, S]),
    scale: tensor([1], 'f32', () => 3),
  }),
  run: (i, options) => kernels.softLogits(i, options),
  reference({ x, slots, scale }, { T, H, S }) {
    const [xs, mu] = [toF64(x), toF64(slots)]
    const range = Array.from({ length: H }, (_, h) => h)
    const length = (at: (h: number) => number) =>
      Math.sqrt(range.reduce((sum, h) => sum + at(h) ** 2, 1e-6))
    return {
      logits: output(T * S, (i) => {
        const [t, s] = [Math.floor(i / S), i % S]
        const factor =
          scale.data[0]! / length((h) => xs[t * H + h]!) / length((h) => mu[h * S + s]!)
        const terms = range.map((h) => factor * xs[t * H + h]! * mu[h * S + s]!)
        const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
        return [sum(terms), sum(terms.map(Math.abs))]
      }),
    }
  },
  terms: ({ H }) => 2 * H + 8,
  rejects: [
    [
      'slots of another width',
      'ERR_MOE_SHAPE',
      'slots',
      (i) => ({ ...i, slots: tensor([11, 12], 'f32', () => 1) }),
    ],
    ['two scales', 'ERR_MOE_SHAPE', 'scale', (i) => ({ ...i, scale: tensor([2], 'f32', () => 1) })],
  ],
}
