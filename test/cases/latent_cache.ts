import { kernels } from '../../lib/standalone/kernels.ts'
import { badSlots } from '../support/bad_places.ts'
import { ints, type OpCase, output, reshape, toF64 } from './case.ts'
import { rotated } from './rope_cache.ts'

type Shape = {
  T: number
  N: number
  /** Of a query head. */
  D: number
  C: number
  R: number
  scale?: number
  /** Default: of q. */
  latent?: 'f32'
  blocks: number
}

const block = 32

export const latentCache: OpCase<Shape> = {
  op: 'latent_cache',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, N: 2, D: 24, C: 16, R: 8, blocks: 1 },
    { T: 7, N: 4, D: 12, C: 32, R: 4, scale: 3.5, blocks: 3 },
    { T: 9, N: 2, D: 24, C: 32, R: 16, latent: 'f32', blocks: 1 },
    { T: 3, N: 3, D: 11, C: 13, R: 6, blocks: 2 }, // odd sizes
    { T: 40, N: 16, D: 192, C: 512, R: 64, blocks: 2 },
    { T: 0, N: 1, D: 8, C: 8, R: 8, blocks: 1 },
  ],
  inputs({ T, N, D, C, R, scale, latent, blocks }, random, dtype) {
    const slots = Array.from({ length: blocks * block }, (_, i) => i).sort(
      () => random.uniform() - 0.5,
    )
    return {
      q: random.tensor([T, N * D], dtype),
      latent: random.tensor([T, C + R], latent ?? dtype),
      weight: random.tensor([C]),
      eps: 1e-6,
      ...(scale && { scale }),
      heads: N,
      positions: random.ints([T], 50),
      slots: ints([T], (t) => slots[t]!),
      table: random.tensor([50, R]),
      cache: random.tensor([blocks, block, C + R], dtype),
    }
  },
  run: (i, options) => kernels.latentCache(i, options),
  reference(i, { T, N, D, C, R, scale = 1 }) {
    const [q, latent, weight, table, cache] = [i.q, i.latent, i.weight, i.table, i.cache].map(
      toF64,
    ) as [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array]
    const row = (t: number) =>
      table.subarray(i.positions.data[t] * R, (i.positions.data[t] + 1) * R)
    const L = C + R
    const magnitude = cache.map(Math.abs)
    for (let t = 0; t < T; t++) {
      const to = i.slots.data[t] * L
      const c = latent.subarray(t * L, t * L + C)
      const norm = Math.sqrt(c.reduce((sum, v) => sum + v * v, 0) / C + i.eps)
      for (let d = 0; d < L; d++) {
        const value = (scale * c[d]! * weight[d]!) / norm
        ;[cache[to + d], magnitude[to + d]] =
          d < C ? [value, Math.abs(value)] : rotated(latent, t * L + C, d - C, row(t), R)
      }
    }
    return {
      q: output(T * N * D, (n) =>
        rotated(q, Math.floor(n / D) * D, n % D, row(Math.floor(n / (N * D))), R),
      ),
      cache: { value: cache, magnitude },
    }
  },
  terms: ({ C }) => C + 6,
  rejects: [
    [
      'a row wider than its parts',
      'ERR_MOE_OPTION',
      'weight',
      (i) => ({ ...i, weight: { data: new Float32Array(1), shape: [1] } }),
    ],
    ['heads that do not divide q', 'ERR_MOE_OPTION', 'heads', (i) => ({ ...i, heads: 1000 })],
    [
      'a rotation wider than a head',
      'ERR_MOE_OPTION',
      'table',
      (i) => ({ ...i, heads: i.q.shape[1] }),
    ],
    [
      'a latent of another width',
      'ERR_MOE_SHAPE',
      'latent',
      (i) => ({ ...i, latent: reshape(i.latent, [i.latent.data.length]) }),
    ],
    ...badSlots,
  ],
}
