import type { PatchesInputs } from '../../lib/ops/index.ts'
import { type Arrays, kernels } from '../../lib/standalone/kernels.ts'
import { type OpCase, output, tensor, toF64 } from './case.ts'

type Shape = { images: [B: number, height: number, width: number, channels: number] } & Pick<
  PatchesInputs,
  'patchHeight' | 'patchWidth'
> & { bytes?: boolean }

export const patches: OpCase<Shape, Arrays<PatchesInputs>> = {
  op: 'patches',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { images: [2, 7, 10, 3], patchHeight: 3, patchWidth: 5 },
    { images: [1, 16, 16, 3], patchHeight: 4, patchWidth: 4, bytes: true },
    { images: [3, 5, 6, 1], patchHeight: 5, patchWidth: 1 },
    { images: [0, 4, 4, 3], patchHeight: 2, patchWidth: 2 },
  ],
  inputs({ images: shape, patchHeight, patchWidth, bytes }, random, dtype) {
    const count = shape.reduce((n, dim) => n * dim, 1)
    const images = bytes
      ? { data: Uint8Array.from({ length: count }, () => random.int(256)), shape }
      : random.tensor(shape)
    return { images, patchHeight, patchWidth, dtype }
  },
  run: (i, options) => kernels.patches(i, options),
  reference({ images }, { images: [B, h, w, C], patchHeight: ph, patchWidth: pw, bytes }) {
    const [rows, columns] = [Math.floor(h / ph), Math.floor(w / pw)]
    const pixels = toF64(images)
    const values: number[] = []
    for (let b = 0; b < B; b++)
      for (let row = 0; row < rows; row++)
        for (let column = 0; column < columns; column++)
          for (let y = 0; y < ph; y++)
            for (let x = 0; x < pw; x++)
              for (let c = 0; c < C; c++) {
                const pixel = pixels[((b * h + row * ph + y) * w + column * pw + x) * C + c]!
                values.push(bytes ? pixel / 127.5 - 1 : pixel)
              }
    return { out: output(values.length, (i) => [values[i]!, bytes ? 2 : 0]) }
  },
  terms: () => 2,
  rejects: [
    ['no height', 'ERR_MOE_OPTION', 'patchHeight', (i) => ({ ...i, patchHeight: 0 })],
    [
      'patches wider than the image',
      'ERR_MOE_OPTION',
      'patchWidth',
      (i) => ({ ...i, patchWidth: 11 }),
    ],
    [
      'one image without its dimension',
      'ERR_MOE_SHAPE',
      'images',
      (i) => ({ ...i, images: tensor([7, 10, 3], 'f32', () => 0) }),
    ],
  ],
}
