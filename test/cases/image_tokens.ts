import type { ImageTokensInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { type OpCase, output, tensor, toF64 } from './case.ts'

type Shape = { B: number; P: number; H: number; first?: boolean; positions?: boolean }

export const imageTokens: OpCase<Shape, Arrays<ImageTokensInputs>> = {
  op: 'image_tokens',
  dtypes: ['f32'],
  shapes: [
    { B: 3, P: 4, H: 8, first: true, positions: true },
    { B: 2, P: 5, H: 300, positions: true },
    { B: 1, P: 3, H: 7, first: true },
    { B: 2, P: 1, H: 3 },
    { B: 0, P: 4, H: 3 },
  ],
  inputs: ({ B, P, H, first, positions }, random) => ({
    patches: random.tensor([B * P, H]),
    ...(first && { classToken: random.tensor([H]) }),
    ...(positions && { positions: random.tensor([P + (first ? 1 : 0), H]) }),
    images: B,
  }),
  run: (i, options) => kernels.imageTokens(i, options),
  reference({ patches, classToken, positions }, { B, P, H, first }) {
    const N = P + (first ? 1 : 0)
    const [xs, own] = [toF64(patches), positions && toF64(positions)]
    return {
      out: output(B * N * H, (i) => {
        const [b, n, h] = [Math.floor(i / (N * H)), Math.floor(i / H) % N, i % H]
        const token = classToken && n === 0 ? toF64(classToken)[h]! : undefined
        const x = token ?? xs[(b * P + n - (N - P)) * H + h]!
        const position = own?.[n * H + h] ?? 0
        return [x + position, Math.abs(x) + Math.abs(position)]
      }),
    }
  },
  terms: () => 1,
  rejects: [
    ['images that do not divide', 'ERR_MOE_OPTION', 'images', (i) => ({ ...i, images: 5 })],
    [
      'positions of the patches alone',
      'ERR_MOE_SHAPE',
      'positions',
      (i) => ({ ...i, positions: tensor([4, 8], 'f32', () => 0) }),
    ],
    [
      'a class token of another width',
      'ERR_MOE_SHAPE',
      'classToken',
      (i) => ({ ...i, classToken: tensor([7], 'f32', () => 0) }),
    ],
  ],
}
