import { kernels } from '../../lib/standalone/kernels.ts'
import { badSlots } from '../support/bad_places.ts'
import { ints, type OpCase, output, reshape, toF64 } from './case.ts'

type Shape = { T: number; N: number; G: number; D: number; V?: number; r: number; blocks: number }

const block = 32

/** Rotated value d of a head, with its magnitude. */
export function rotated(
  x: Float64Array,
  at: number,
  d: number,
  cosSin: Float64Array,
  r: number,
): [number, number] {
  const half = r / 2
  if (d >= r) return [x[at + d]!, Math.abs(x[at + d]!)]
  const j = d % half
  const [c, s] = [cosSin[j]!, cosSin[half + j]!]
  const [a, b] = [x[at + j]!, x[at + j + half]!]
  return [
    d < half ? a * c - b * s : b * c + a * s,
    Math.abs(a * c) + Math.abs(b * s) + Math.abs(b * c) + Math.abs(a * s),
  ]
}

export const ropeCache: OpCase<Shape> = {
  op: 'rope_cache',
  dtypes: ['f32', 'bf16'],
  shapes: [
    { T: 1, N: 2, G: 2, D: 16, r: 16, blocks: 1 },
    { T: 7, N: 4, G: 2, D: 24, r: 24, blocks: 3 },
    { T: 5, N: 3, G: 1, D: 10, r: 6, blocks: 2 }, // partial rotation
    { T: 3, N: 1, G: 1, D: 7, r: 4, blocks: 2 }, //  odd head size
    { T: 70, N: 3, G: 2, D: 40, r: 12, blocks: 4 }, // tiles of tokens
    { T: 0, N: 1, G: 1, D: 8, r: 8, blocks: 1 },
    { T: 3, N: 2, G: 2, D: 24, V: 16, r: 8, blocks: 2 }, // narrower values
    { T: 40, N: 3, G: 2, D: 24, V: 37, r: 24, blocks: 2 }, // wider ones
    { T: 3, N: 0, G: 2, D: 7, r: 0, blocks: 2 }, //  nothing is rotated, and nobody asks
    { T: 40, N: 2, G: 1, D: 12, r: 0, blocks: 2 },
  ],
  inputs({ T, N, G, D, V = D, r, blocks }, random, dtype) {
    const slots = Array.from({ length: blocks * block }, (_, i) => i).sort(
      () => random.uniform() - 0.5,
    )
    return {
      ...(N > 0 && { q: random.tensor([T, N * D], dtype) }),
      k: random.tensor([T, G * D], dtype),
      v: random.tensor([T, G * V], dtype),
      ...(r > 0 && { positions: random.ints([T], 50), table: random.tensor([50, r]) }),
      slots: ints([T], (t) => slots[t]!),
      keys: random.tensor([blocks, G, D, block], dtype),
      values: random.tensor([blocks, G, block, V], dtype),
    }
  },
  run: (i, options) => kernels.ropeCache(i, options),
  reference(i, { T, N, G, D, V = D, r }) {
    const [q, k, v, table, keys, values] = [i.q, i.k, i.v, i.table, i.keys, i.values].map((one) =>
      one ? toF64(one) : new Float64Array(),
    ) as Float64Array[]
    const row = (t: number) =>
      r === 0 ? table! : table!.subarray(i.positions.data[t] * r, (i.positions.data[t] + 1) * r)
    const keyTerms = keys!.map(Math.abs)
    for (let t = 0; t < T; t++)
      for (let g = 0; g < G; g++) {
        const [b, column] = [Math.floor(i.slots.data[t] / block), i.slots.data[t] % block]
        const first = (b * G + g) * block
        for (let d = 0; d < D; d++) {
          const to = first * D + d * block + column
          ;[keys![to], keyTerms[to]] = rotated(k!, (t * G + g) * D, d, row(t), r)
        }
        for (let d = 0; d < V; d++) values![(first + column) * V + d] = v![(t * G + g) * V + d]!
      }
    return {
      ...(i.q && {
        q: output(T * N * D, (n) =>
          rotated(q!, Math.floor(n / D) * D, n % D, row(Math.floor(n / (N * D))), r),
        ),
      }),
      keys: { value: keys!, magnitude: keyTerms },
      values: { exact: values! },
    }
  },
  terms: () => 3,
  rejects: [
    [
      'a table wider than a head',
      'ERR_MOE_OPTION',
      'table',
      (i) => ({ ...i, table: { data: new Float32Array(50 * 64), shape: [50, 64] } }),
    ],
    ...badSlots,
    [
      'keys without blocks of 32',
      'ERR_MOE_SHAPE',
      'keys',
      (i) => ({ ...i, keys: reshape(i.keys, [1, 1, 1, i.keys.data.length]) }),
    ],
  ],
}
