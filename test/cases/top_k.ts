import type { ExpertKind, TopKInputs } from '../../lib/ops/index.ts'
import type { Arrays } from '../../lib/standalone/kernels.ts'
import { type ArrayTensor, kernels } from '../../lib/standalone/kernels.ts'
import { as, type Expected, ints, type OpCase, toF64 } from './case.ts'

type Tensors = 'logits' | 'choiceBias' | 'adjust' | 'adjustOf' | 'counts'
type Choice = Omit<TopKInputs, Tensors>

/** Everything of a case but its logits; a `choiceBias` is made of random numbers of this size, or is these. */
type Shape = Partial<Omit<Choice, 'givesShare'>> & {
  T: number
  E: number
  K: number
  zero?: boolean
  values?: number[]
  choiceBias?: number | number[]
  /** Changes of so many rows: a few experts out or forced, others with a bias; every other token has one of them. */
  adjusted?: number
}

/** Ids of the n largest of `values` among `ids`, best first, ties to the lower id. */
const largest = (values: number[], ids: number[], n: number): number[] =>
  [...ids].sort((a, b) => values[b]! - values[a]! || a - b).slice(0, n)

/** Experts of the groups that a token may choose from. */
function allowed(c: number[], { groups = 1, keptGroups = 1, groupScore = 'max' }: Partial<Choice>) {
  const n = c.length / groups
  const members = Array.from({ length: groups }, (_, g) =>
    Array.from({ length: n }, (_, i) => g * n + i),
  )
  const worth = members.map((ids) => {
    const [first, second] = largest(c, ids, 2).map((e) => c[e]!)
    return groupScore === 'max' ? first! : first! + second!
  })
  return largest(worth, Array.from(members.keys()), keptGroups).flatMap((g) => members[g]!)
}

/** PhiMoE's weight of `best` among the experts that are left. */
function sparsemixer(z: number[], left: number[], best: number, jitter: number): number {
  const top = z[best]!
  const near = left.filter((e) => !((top - z[e]!) / Math.max(Math.abs(z[e]!), top) > 2 * jitter))
  return 1 / near.reduce((sum, e) => sum + (z[e] === top ? 1 : Math.exp(z[e]! - top)), 0)
}

/** Ids and weights of one token. */
function chooseOne(
  row: number[],
  bias: number[] | undefined,
  adjust: number[] | undefined,
  options: Choice,
): { chosen: number[]; weights: number[] } {
  const { topK: K, score = 'softmax', normStd = 0, givesShare, factor = 1 } = options
  const { groups = 1, keptGroups = 1, jitter = 0 } = options
  const E = row.length
  const mean = row.reduce((a, b) => a + b, 0) / E
  const deviation = Math.sqrt(row.reduce((sum, z) => sum + (z - mean) ** 2, 0) / (E - 1))
  const norm = normStd > 0 && deviation > 0 ? normStd / deviation : 1
  const forced = row.map((_, e) => adjust?.[e] === Number.POSITIVE_INFINITY)
  const z = row.map((v, e) => {
    const changed = v * norm + (forced[e] ? 0 : (adjust?.[e] ?? 0))
    return Number.isNaN(changed) ? Number.NEGATIVE_INFINITY : changed
  })
  const top = Math.max(...z)
  const mass = z.map((v) => (Number.isFinite(top) ? Math.exp(v - top) : v === top ? 1 : 0))
  const whole = mass.reduce((a, b) => a + b, 0)
  const scores = z.map((v, e) => {
    if (score === 'softmax') return mass[e]! / whole
    if (score === 'sigmoid') return 1 / (1 + Math.exp(-v))
    if (v === Number.NEGATIVE_INFINITY) return 0
    return score === 'one' ? 1 : v
  })
  const byScore = bias || (keptGroups < groups && options.groupScore === 'top2')
  const reachable = (e: number) => z[e] !== Number.NEGATIVE_INFINITY
  const c = byScore
    ? scores.map((s, e) => (reachable(e) ? s + (bias?.[e] ?? 0) : Number.NEGATIVE_INFINITY))
    : z
  const left = allowed(c, options)
  const first = forced.flatMap((is, e) => (is ? [e] : []))
  const rest = left.filter((e) => !forced[e])
  const chosen = [...largest(c, first, K), ...largest(c, rest, Math.max(0, K - first.length))]
  const weigh = (e: number, k: number): number => {
    if (givesShare?.[e]) return 0
    if (score !== 'sparsemixer') return scores[e]!
    return sparsemixer(
      z,
      left.filter((i) => !chosen.slice(0, k).includes(i)),
      e,
      jitter,
    )
  }
  const weights = chosen.map(weigh)
  if (givesShare && !weights.some((w) => w > 0))
    weights[chosen.findIndex((e) => !givesShare[e])] = 1
  const epsilon = score === 'sigmoid' ? 1e-20 : 0 // DeepSeek-V3's
  const sum = options.weights === 'scores' ? 1 : weights.reduce((a, b) => a + b, epsilon)
  const none = row.some((v) => Number.isNaN(v) || v === Number.POSITIVE_INFINITY)
  return { chosen, weights: weights.map((w) => (none ? Number.NaN : (w / sum) * factor)) }
}

/** What `topK` must give for logits [T, E], by sorting. */
export function chooseExperts(
  all: Float64Array,
  T: number,
  { choiceBias, adjust, adjustOf, counts, ...options }: Omit<Arrays<TopKInputs>, 'logits'>,
): Record<'ids' | 'weights' | 'offsets' | 'rows', Expected> & { counts?: Expected } {
  const { kinds, topK: K } = options
  const E = kinds.length
  const bias = choiceBias && Array.from(toF64(choiceBias))
  const tokens = Array.from({ length: T }, (_, t) => {
    const row = adjustOf?.data[t] ?? -1
    const own = row < 0 ? undefined : Array.from(toF64(adjust!).subarray(row * E, row * E + E))
    return chooseOne(Array.from(all.subarray(t * E, t * E + E)), bias, own, options)
  })
  const ids = tokens.flatMap(({ chosen }) => chosen)
  const weights = tokens.flatMap((token) => token.weights)
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
    weights: { value, magnitude: value.map((w) => 16 * Math.abs(w)) },
    offsets: { exact: offsets },
    rows: { exact: rows },
    ...(counts && { counts: { exact: countChoices(counts, ids) } }),
  }
}

/** Numbers in two words each. */
function countChoices(counts: ArrayTensor, ids: number[]): number[] {
  return Array.from({ length: counts.shape[0]! }, (_, e) => {
    const [low, high] = [counts.data[2 * e]! >>> 0, counts.data[2 * e + 1]!]
    const sum = BigInt(low) + BigInt(high) * 2n ** 32n + BigInt(ids.filter((id) => id === e).length)
    return [Number(BigInt.asIntN(32, sum)), Number(sum >> 32n)]
  }).flat()
}

const sigmoid = { score: 'sigmoid', weights: 'renormalized', choiceBias: 0.1 } as const
const sparsemixed = { score: 'sparsemixer', weights: 'scores' } as const

export const topK: OpCase<Shape> = {
  op: 'top_k',
  dtypes: ['f32'],
  shapes: [
    { T: 1, E: 8, K: 2 },
    { T: 17, E: 32, K: 3, weights: 'scores' },
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
    { T: 2, E: 4, K: 2, weights: 'scores', normStd: 1, values: [1, 2, Number.NaN, 3, 1, 2, 3, 4] },
    { T: 2, E: 4, K: 2, zero: true, values: [1, 2, Number.NaN, 3, 1, 2, 3, 4] },
    { T: 1, E: 3, K: 2, zero: true, values: [-300, -400, 300] }, //               the zero expert's partner underflows
    { T: 300, E: 7, K: 2, kinds: ['zero', 'ffn', 'copy', 'ffn', 'ffn', 'constant', 'ffn'] }, // any order
    { T: 5, E: 2, K: 1, kinds: ['zero', 'copy'] }, //                             no FFN expert at all
    { T: 40, E: 150, K: 8 },
    { T: 40, E: 64, K: 6, weights: 'scores', groups: 8, keptGroups: 3, factor: 16 }, //   DeepSeek-V2
    { T: 40, E: 256, K: 8, ...sigmoid, factor: 2.5, groups: 8, keptGroups: 4, groupScore: 'top2' },
    { T: 9, E: 8, K: 3, ...sigmoid, weights: 'scores', choiceBias: [9, -9, 0, 0, 0, 0, 0, 0] },
    { T: 9, E: 12, K: 4, groups: 6, keptGroups: 2, groupScore: 'top2' }, //       every expert of two groups
    { T: 33, E: 768, K: 12, weights: 'scores', choiceBias: 0.01, factor: 6 }, //  LongCat-Flash
    { T: 17, E: 16, K: 2, choiceBias: 0.5 },
    {
      T: 9,
      E: 16,
      K: 3,
      ...sigmoid,
      choiceBias: 0,
      groups: 32 / 2,
      keptGroups: 5,
      groupScore: 'max',
    },
    { T: 5, E: 33, K: 2, score: 'identity', weights: 'scores', factor: -2 },
    { T: 5, E: 33, K: 3, score: 'one', weights: 'scores', adjusted: 2 },
    { T: 65, E: 16, K: 2, ...sparsemixed, jitter: 0.01 },
    { T: 65, E: 40, K: 3, ...sparsemixed, jitter: 0.2, groups: 4, keptGroups: 2 },
    { T: 2, E: 4, K: 2, ...sparsemixed, jitter: 0.1, values: [0, 0, -1, 0, -5, -1, -1, -1.1] },
    {
      ...{
        T: 2,
        E: 4,
        K: 2,
        ...sigmoid,
        groups: 2,
        keptGroups: 1,
        groupScore: 'top2',
        choiceBias: [-9, 9, -9, 0],
      },
      values: [Number.NaN, Number.NEGATIVE_INFINITY, 1, 2, Number.NEGATIVE_INFINITY, 3, 1, 0],
    },
    { T: 20, E: 8, K: 2, adjusted: 1 },
    { T: 33, E: 12, K: 3, weights: 'scores', normStd: 1.7, adjusted: 2 },
    { T: 33, E: 12, K: 2, normStd: 1, zero: true, adjusted: 2 },
    { T: 24, E: 64, K: 6, ...sigmoid, groups: 8, keptGroups: 3, groupScore: 'top2', adjusted: 3 },
    { T: 24, E: 300, K: 4, ...sparsemixed, jitter: 0.1, adjusted: 2 },
    {
      T: 2,
      E: 4,
      K: 2,
      adjusted: 1,
      values: [Number.NaN, 1, 2, 3, 9, Number.POSITIVE_INFINITY, 1, 2],
    },
    { T: 2, E: 3, K: 2, ...sigmoid, choiceBias: 0, values: [-60, -70, -80, 60, 70, 80] }, // sums below 1e-20, saturated
  ],
  inputs({ T, E, K, zero, values, choiceBias, adjusted = 0, ...options }, random) {
    const logits = random.tensor([T, E], 'f32', 2)
    if (values) logits.data = Float32Array.from(values)
    const bias =
      typeof choiceBias === 'number'
        ? random.tensor([E], 'f32', choiceBias)
        : choiceBias && { data: Float32Array.from(choiceBias), shape: [E] }
    const adjust = random.tensor([adjusted, E], 'f32', 1)
    for (let r = 0; r < adjusted; r++) {
      adjust.data[r * E + r] = Number.NEGATIVE_INFINITY
      adjust.data[r * E + E - 1] = Number.POSITIVE_INFINITY
    }
    // The first expert's number is about to need its second word.
    const counts = ints([E, 2], (i) => (i === 0 ? -1 : i))
    return {
      ...(adjusted > 0 && { adjust, adjustOf: ints([T], (t) => (t % (adjusted + 1)) - 1), counts }),
      ...{ logits, kinds: Array<ExpertKind>(E).fill('ffn'), topK: K, weights: 'renormalized' },
      ...(bias && { choiceBias: bias }),
      ...(zero && { givesShare: Array.from({ length: E }, (_, e) => e === E - 1) }),
      ...options,
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
    ['groups that do not divide', 'ERR_MOE_OPTION', 'groups', (i) => ({ ...i, groups: 3 })],
    ['no groups', 'ERR_MOE_OPTION', 'groups', (i) => ({ ...i, groups: 0 })],
    ['no kept group', 'ERR_MOE_OPTION', 'keptGroups', (i) => ({ ...i, groups: 2, keptGroups: 0 })],
    ['more kept than there are', 'ERR_MOE_OPTION', 'keptGroups', (i) => ({ ...i, keptGroups: 2 })],
    ['K above the kept experts', 'ERR_MOE_OPTION', 'topK', (i) => ({ ...i, groups: 8 })],
    [
      'the two best of one expert',
      'ERR_MOE_OPTION',
      'groups',
      (i) => ({ ...i, groups: 8, keptGroups: 2, groupScore: 'top2' }),
    ],
    [
      'a bias of another length',
      'ERR_MOE_SHAPE',
      'choiceBias',
      (i) => ({ ...i, choiceBias: { data: new Float32Array(3), shape: [3] } }),
    ],
    [
      'sparsemixer with a bias',
      'ERR_MOE_OPTION',
      'choiceBias',
      (i) => ({
        ...{ ...i, ...sparsemixed },
        choiceBias: { data: new Float32Array(8), shape: [8] },
      }),
    ],
    [
      'changes of no token',
      'ERR_MOE_OPTION',
      'adjustOf',
      (i) => ({ ...i, adjust: { data: new Float32Array(8), shape: [1, 8] } }),
    ],
    [
      'changes of other experts',
      'ERR_MOE_SHAPE',
      'adjust',
      (i) => ({
        ...i,
        ...{ adjust: { data: new Float32Array(3), shape: [1, 3] }, adjustOf: ints([1], () => 0) },
      }),
    ],
    [
      'a row of changes that is not there',
      'ERR_MOE_OPTION',
      'adjustOf',
      (i) => ({
        ...i,
        ...{ adjust: { data: new Float32Array(8), shape: [1, 8] }, adjustOf: ints([1], () => 1) },
      }),
    ],
    [
      'counts of one word',
      'ERR_MOE_SHAPE',
      'counts',
      (i) => ({ ...i, counts: ints([8], () => 0) }),
    ],
    ['logits that share a sum', 'ERR_MOE_OPTION', 'weights', (i) => ({ ...i, score: 'identity' })],
    ['an unknown score', 'ERR_MOE_OPTION', 'score', (i) => ({ ...i, score: 'tanh' })],
    [
      'a share given under sigmoid',
      'ERR_MOE_OPTION',
      'givesShare',
      (i) => ({ ...i, score: 'sigmoid', givesShare: Array(8).fill(false) }),
    ],
    ['a factor that is none', 'ERR_MOE_OPTION', 'factor', (i) => ({ ...i, factor: Number.NaN })],
    ['a negative jitter', 'ERR_MOE_OPTION', 'jitter', (i) => ({ ...i, jitter: -1 })],
  ],
}
