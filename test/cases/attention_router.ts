import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type OpCase, output, toF64 } from './case.ts'

type Shape = { T: number; E: number; scale?: number }

export const attentionRouter: OpCase<Shape> = {
  op: 'attention_router',
  dtypes: ['f32'],
  shapes: [
    { T: 1, E: 32 },
    { T: 7, E: 5 },
    { T: 3, E: 1 },
    { T: 20, E: 16, scale: 6 },
    { T: 0, E: 8 },
    { T: 2, E: 33, scale: 0 },
  ],
  inputs: ({ T, E, scale = 1 }, random) => ({ qkv: random.tensor([T, 3 * E], 'f32', scale) }),
  run: (i, options) => kernels.attentionRouter(i, options),
  reference({ qkv }, { T, E }) {
    const x = toF64(qkv)
    return {
      logits: output(T * E, (i) => {
        const at = Math.floor(i / E) * 3 * E
        const scores = Array.from({ length: E }, (_, j) => x[at + (i % E)]! * x[at + E + j]!)
        const top = Math.max(...scores)
        const total = scores.reduce((sum, z) => sum + Math.exp(z - top), 0)
        let value = 0
        let magnitude = 0
        for (const [j, z] of scores.entries()) {
          const term = (Math.exp(z - top) / total) * x[at + 2 * E + j]!
          value += term
          magnitude += Math.abs(term) * (4 + Math.abs(z) + Math.abs(top)) // a score's rounding scales its weight
        }
        return [value, magnitude]
      }),
    }
  },
  terms: ({ E }) => E + 4,
  rejects: [
    [
      'qkv of a width that is no multiple of 3',
      'ERR_MOE_SHAPE',
      'shape|qkv',
      () => ({ qkv: { data: new Float32Array(7), shape: [1, 7] } }),
    ],
    ['a bf16 qkv', 'ERR_MOE_DTYPE', 'qkv', (i) => ({ qkv: as(i.qkv, 'bf16') })],
  ],
}
