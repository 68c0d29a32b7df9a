import type { ExpertKind, TopKInputs } from '../../lib/ops/index.ts'
import { kernels } from '../../lib/standalone/kernels.ts'
import { as, type Expected, type OpCase, toF64 } from './case.ts'

type Shape = {
  T: number
  E: number
  K: number
  kind?: string
  normStd?: number
  zero?: boolean
  values?: number[]
  kinds?: ExpertKind[]
}

/** What `topK` must give for logits [T, E], by sorting. */
export function chooseExperts(
  all: Float64Array,
  T: number,
  { kinds, topK: K, weights: kind, normStd = 0, givesShare }: Omit<TopKInputs, 'logits'>,
): Record<'ids' | 'weights' | 'offsets' | 'rows', Expected> {
  const E = kinds.length
  const ids: number[] = []
  const weights: number[] = []
  for (let t = 0; t < T; t++) {
    const row = Array.from(all.subarray(t * E, t * E + E))
    const mean = row.reduce((a, b) => a + b, 0) / E
    const deviation = Math.sqrt(row.reduce((sum, z) => sum + (z - mean) ** 2, 0) / (E - 1))
    const factor = normStd > 0 && deviation > 0 ? normStd / deviation : 1
    const z = row.map((v) => (Number.isNaN(v) ? Number.NEGATIVE_INFINITY : v * factor))
    const order = z.map((_, e) => e).sort((a, b) => z[b]! - z[a]! || a - b)
    const chosen = order.slice(0, K)
    const top = z[chosen[0]!]!
    const mass = (e: number): number =>
      Number.isFinite(top) ? Math.exp(z[e]! - top) : z[e] === top ? 1 : 0
    const share = chosen.map((e) => (givesShare?.[e] ? 0 : mass(e)))
    if (givesShare && !share.some((s) => s > 0)) share[chosen.findIndex((e) => !givesShare[e])] = 1
    const total =
      kind === 'softmax'
        ? z.reduce((sum, _, e) => sum + mass(e), 0)
        : share.reduce((a, b) => a + b, 0)
    const undefinedSoftmax = row.some((v) => Number.isNaN(v) || v === Number.POSITIVE_INFINITY)
    ids.push(...chosen)
    weights.push(...share.map((s) => (undefinedSoftmax ? Number.NaN : s / total)))
  }
  const rows = new Array<number>(T * K).fill(-1)
  const offsets = [0]
  let next = 0
  for (const [e, kindOf] of kinds.entries()) {
    if (kindOf !== 'ffn') continue
    for (const [slot, id] of ids.entries()) if (id === e) rows[slot] = next++
    offsets.push(next)
  }
  const value = Float64Array.from(weights)
  return {
    ids: { exact: ids },
    weights: { value, magnitude: value.map((w) => 16 * w) },
    offsets: { exact: offsets },
    rows: { exact: rows },
  }
}

export const topK: OpCase<Shape> = {
  op: 'top_k',
  dtypes: ['f32'],
  shapes: [
    { T: 1, E: 8, K: 2 },
    { T: 17, E: 32, K: 3, kind: 'softmax' },
    { T: 33, E: 12, K: 2, normStd: 1.7 },
    { T: 33, E: 12, K: 2, normStd: 1, zero: true },
    { T: 9, E: 5, K: 5, zero: true }, //                                          every expert chosen
    { T: 3, E: 1, K: 1 },
    { T: 0, E: 4, K: 2 },
    { T: 2, E: 4, K: 2, values: [1, 3, 3, 3, 0, 0, 0, 0] }, //                    ties go to the lower id
    { T: 2, E: 4, K: 2, normStd: 1, values: [2, 2, 2, 2, 0, 0, 0, 0] }, //        no spread to normalise
    {
      T: 2,
      E: 4,
      K: 2,
      values: [Number.NaN, 1, Number.NaN, 0, Number.NaN, Number.NaN, Number.NaN, Number.NaN],
    },
    { T: 1, E: 4, K: 2, values: [Number.POSITIVE_INFINITY, 1, 2, Number.NEGATIVE_INFINITY] },
    { T: 1, E: 4, K: 2, values: [Number.NEGATIVE_INFINITY, 1, 2, Number.NEGATIVE_INFINITY] }, // experts out of reach
    { T: 2, E: 4, K: 2, kind: 'softmax', normStd: 1, values: [1, 2, Number.NaN, 3, 1, 2, 3, 4] },
    { T: 2, E: 4, K: 2, zero: true, values: [1, 2, Number.NaN, 3, 1, 2, 3, 4] },
    { T: 1, E: 3, K: 2, zero: true, values: [-300, -400, 300] }, //               the zero expert's partner underflows
    { T: 300, E: 7, K: 2, kinds: ['zero', 'ffn', 'copy', 'ffn', 'ffn', 'constant', 'ffn'] }, // any order
    { T: 5, E: 2, K: 1, kinds: ['zero', 'copy'] }, //                             no FFN expert at all
    { T: 40, E: 150, K: 8 },
  ],
  inputs({ T, E, K, kind = 'renormalized', normStd = 0, zero, values, kinds }, random) {
    const logits = random.tensor([T, E], 'f32', 2)
    if (values) logits.data = Float32Array.from(values)
    const givesShare = zero && Array.from({ length: E }, (_, e) => e === E - 1)
    return {
      logits,
      kinds: kinds ?? Array<ExpertKind>(E).fill('ffn'),
      topK: K,
      weights: kind,
      normStd,
      ...(givesShare && { givesShare }),
    }
  },
  run: (i, options) => kernels.topK(i, options),
  reference: (i, { T }) => chooseExperts(toF64(i.logits), T, i),
  terms: ({ E }) => E + 4,
  rejects: [
    ['K above E', 'ERR_MOE_OPTION', 'topK', (i) => ({ ...i, topK: 99 })],
    ['K of 0', 'ERR_MOE_OPTION', 'topK', (i) => ({ ...i, topK: 0 })],
    ['bf16 logits', 'ERR_MOE_DTYPE', 'logits', (i) => ({ ...i, logits: as(i.logits, 'bf16') })],
    ['a negative normStd', 'ERR_MOE_OPTION', 'normStd', (i) => ({ ...i, normStd: -1 })],
    [
      'kinds of another length',
      'ERR_MOE_OPTION',
      'kinds',
      (i) => ({ ...i, kinds: ['ffn', 'ffn', 'ffn'] }),
    ],
    [
      'flags of another length',
      'ERR_MOE_OPTION',
      'givesShare',
      (i) => ({ ...i, givesShare: [true] }),
    ],
  ],
}
