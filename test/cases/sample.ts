import { kernels } from '../../lib/standalone/kernels.ts'
import { as, ints, type OpCase, tensor, toF64 } from './case.ts'

// Only what is deterministic: greedy choice, penalties, logprobs. The distribution of draws has its own test.
type Row = {
  repetition?: number
  presence?: number
  frequency?: number
  history?: number[]
  prompt?: number
  topK?: number
  topP?: number
  minP?: number
  temperature?: number
  /** Ids that are allowed. */
  mask?: number[]
  bias?: [id: number, bias: number][]
}
type Shape = {
  V: number
  rows: Row[]
  top?: number
  vocabulary?: number
  values?: number[]
  /** A logit that is NaN. */
  damaged?: number
}

export const sample: OpCase<Shape> = {
  op: 'sample',
  dtypes: ['f32'],
  shapes: [
    { V: 50, rows: [{}], top: 3 },
    { V: 9001, rows: [{}, { topK: 1, temperature: 0.7 }, {}], top: 2, vocabulary: 8990 }, // several parts of a row
    { V: 33, rows: [{}, { topK: 1, temperature: 2 }, {}], top: 33 },
    {
      V: 8,
      rows: [
        { repetition: 1.5, history: [1, 2, 2], prompt: 2 },
        { repetition: 0.5, history: [3, 4], prompt: 0 },
      ],
    },
    {
      V: 8,
      rows: [
        { presence: 0.7, frequency: 0.4, history: [1, 5, 5, 6], prompt: 1 },
        { frequency: -2, history: [7, 7], prompt: 0 },
      ],
    },
    { V: 20, rows: [{}, {}], vocabulary: 4 }, //                             padded vocabulary
    { V: 4, rows: [{}, {}, {}], values: [2, 5, 5, 1, Number.NaN, 1, Number.NaN, 0, 3, 3, 3, 3] }, // ties, NaN
    // The ends of the ranges that leave the best token alone, also the first of two.
    {
      V: 5000,
      rows: [
        { temperature: 1, topP: 0 },
        { temperature: 5, topP: 1e-45 },
        { temperature: 1, topP: 0, topK: 7 },
        { temperature: 5, topP: 0, minP: 0.1 },
        { temperature: 1e4, minP: 1 },
        { temperature: 1e-40 },
      ],
    },
    { V: 4, rows: [{ temperature: 1, topP: 0 }, {}], values: [1, 5, 5, 0, 5, 5, 1, 0] },
    // Logits that are not finite, in the vocabulary and beyond it.
    {
      V: 4,
      rows: [{}, { temperature: 1, topP: 0 }, { temperature: 1 }],
      values: [
        ...[1, Number.POSITIVE_INFINITY, 2, Number.NaN],
        ...[Number.NEGATIVE_INFINITY, 1, 2, 0],
        ...[Number.NaN, Number.NaN, Number.NaN, Number.NaN],
      ],
    },
    { V: 9001, rows: [{}, {}, {}], damaged: 9001 + 8995, vocabulary: 8990, top: 1 },
    // Masks and biases, beside rows without; in and beyond the first part of a row, and before penalties.
    {
      V: 9001,
      rows: [
        { mask: [33, 8989, 8995] },
        {},
        { mask: [7], topK: 1, temperature: 1 },
        {
          bias: [
            [8000, 50],
            [12, 49],
          ],
        },
      ],
      top: 2,
      vocabulary: 8990,
    },
    {
      V: 33,
      rows: [
        {
          mask: [32, 4],
          bias: [
            [4, 20],
            [5, 90],
          ],
        },
        {
          mask: [1, 2],
          history: [1],
          prompt: 0,
          presence: 50,
          bias: [
            [1, 20],
            [2, 1],
          ],
        },
        {
          bias: [
            [3, 100],
            [4, 90],
          ],
          history: [3],
          prompt: 0,
          presence: 30,
        },
        { mask: [] },
        { mask: [], temperature: 1 },
      ],
    },
    {
      V: 4,
      rows: [{ mask: [1, 3] }, {}],
      values: [9, Number.NaN, 1, Number.NEGATIVE_INFINITY, 1, 2, 3, 4],
    },
    // Penalties that would overflow take no token from the only ones that a mask leaves.
    {
      V: 4,
      rows: [
        { mask: [1], history: [1], prompt: 0, repetition: 1000 },
        { mask: [2, 3], history: [2], prompt: 0, repetition: 0.001, presence: -1000 },
      ],
      values: [1, -3e38, 2, 0, 1, 0, 3e38, 2],
    },
    { V: 4, rows: [] },
  ],
  inputs({ V, rows, top = 0, vocabulary = V, values, damaged }, random) {
    const logits = random.tensor([rows.length, V], 'f32', 2)
    if (values) logits.data = Float32Array.from(values)
    if (damaged !== undefined) logits.data[damaged] = Number.NaN
    const history = rows.flatMap((row) => row.history ?? [])
    const ends = rows.reduce((all, row) => [...all, all.at(-1)! + (row.history?.length ?? 0)], [0])
    const options = rows.flatMap((r) => [
      r.temperature ?? 0,
      r.topP ?? 1,
      r.minP ?? 0,
      r.repetition ?? 1,
      r.presence ?? 0,
      r.frequency ?? 0,
    ])
    const counts = rows.flatMap((r) => [r.topK ?? 0, 1, 2, 3, r.prompt ?? 0])
    const masked = rows.filter(({ mask }) => mask)
    const words = masked.flatMap(({ mask }) => {
      const all = new Int32Array(Math.ceil(V / 32))
      for (const id of mask!) all[id >> 5]! |= 1 << (id % 32)
      return [...all]
    })
    const biases = rows.flatMap(({ bias }) => bias ?? [])
    const biasEnds = rows.reduce(
      (all, { bias }) => [...all, all.at(-1)! + (bias?.length ?? 0)],
      [0],
    )
    let maskRow = 0
    const maskRows = rows.map(({ mask }) => (mask ? maskRow++ : -1))
    return {
      ...(masked.length > 0 && {
        masks: ints([masked.length, Math.ceil(V / 32)], (i) => words[i]!),
        maskRows: ints([rows.length], (i) => maskRows[i]!),
      }),
      ...(biases.length > 0 && {
        biasIds: ints([biases.length], (i) => biases[i]![0]),
        biases: tensor([biases.length], 'f32', (i) => biases[i]![1]),
        biasOffsets: ints([biasEnds.length], (i) => biasEnds[i]!),
      }),
      logits,
      options: tensor([rows.length, 6], 'f32', (i) => options[i]!),
      counts: ints([rows.length, 5], (i) => counts[i]!),
      history: ints([history.length], (i) => history[i]!),
      historyOffsets: ints([ends.length], (i) => ends[i]!),
      vocabulary,
      top,
    }
  },
  run: (i, options) => kernels.sample(i, options),
  reference({ logits, vocabulary, top }, { V, rows }) {
    const all = toF64(logits).map((z) => (Number.isNaN(z) ? Number.NEGATIVE_INFINITY : z))
    const ids: number[] = []
    const logprobs: number[] = []
    const topIds: number[] = []
    const topLogprobs: number[] = []
    const given = toF64(logits)
    const nonFinite = rows.map((_, s) =>
      given.subarray(s * V, s * V + V).findIndex((z) => !Number.isFinite(z)),
    )
    for (const [s, row] of rows.entries()) {
      const z = Array.from(all.subarray(s * V, s * V + V))
      const best = Math.max(...z)
      const logTotal = best + Math.log(z.reduce((sum, v) => sum + Math.exp(v - best), 0))
      const order = (values: number[]) =>
        values
          .map((_, v) => v)
          .slice(0, vocabulary)
          .sort((a, b) => values[b]! - values[a]! || a - b)
      for (const id of order(z).slice(0, top)) {
        topIds.push(id)
        topLogprobs.push(z[id]! - logTotal)
      }
      const changed = z.slice()
      for (const [id, bias] of row.bias ?? []) changed[id]! += bias
      if (row.mask)
        for (const v of z.keys()) if (!row.mask.includes(v)) changed[v] = Number.NEGATIVE_INFINITY
      const none =
        row.mask && changed.slice(0, vocabulary).every((v) => v === Number.NEGATIVE_INFINITY)
      const history = row.history ?? []
      for (const id of new Set(history))
        if (row.repetition)
          changed[id] =
            changed[id]! > 0 ? changed[id]! / row.repetition : changed[id]! * row.repetition
      const added = history.slice(row.prompt ?? 0)
      for (const id of new Set(added))
        changed[id] =
          changed[id]! -
          (row.presence ?? 0) -
          (row.frequency ?? 0) * added.filter((a) => a === id).length
      const id = none ? -1 : order(changed)[0]!
      ids.push(id)
      logprobs.push(none ? Number.NEGATIVE_INFINITY : given[s * V + id]! - logTotal)
    }
    const numbers = (list: number[]) => ({
      value: Float64Array.from(list),
      magnitude: Float64Array.from(list, (v) => 8 + 2 * Math.abs(v)),
    })
    return {
      ids: { exact: ids },
      logprobs: numbers(logprobs),
      nonFinite: { exact: nonFinite },
      ...(top > 0 && { topIds: { exact: topIds }, topLogprobs: numbers(topLogprobs) }),
    }
  },
  terms: ({ V }) => V,
  rejects: [
    ['a vocabulary above V', 'ERR_MOE_OPTION', 'vocabulary', (i) => ({ ...i, vocabulary: 1e6 })],
    ['a vocabulary of 0', 'ERR_MOE_OPTION', 'vocabulary', (i) => ({ ...i, vocabulary: 0 })],
    ['bf16 logits', 'ERR_MOE_DTYPE', 'logits', (i) => ({ ...i, logits: as(i.logits, 'bf16') })],
    [
      'options of another width',
      'ERR_MOE_SHAPE',
      'options',
      (i) => ({ ...i, options: tensor([i.options.shape[0], 2], 'f32', () => 0) }),
    ],
    [
      'masks of another width',
      'ERR_MOE_SHAPE',
      'masks',
      (i) => ({
        ...i,
        masks: ints([1, 9], () => 0),
        maskRows: ints([i.options.shape[0]!], () => 0),
      }),
    ],
    [
      'masks without their rows',
      'ERR_MOE_OPTION',
      'maskRows',
      (i) => ({ ...i, masks: ints([1, 2], () => 0) }),
    ],
    [
      'rows of masks that are not there',
      'ERR_MOE_OPTION',
      'maskRows',
      (i) => ({
        ...i,
        masks: ints([1, 2], () => 0),
        maskRows: ints([i.options.shape[0]!], () => 1),
      }),
    ],
    [
      'biases without their ids',
      'ERR_MOE_OPTION',
      'biasIds',
      (i) => ({ ...i, biases: tensor([1], 'f32', () => 0) }),
    ],
    [
      'a bias beyond the vocabulary',
      'ERR_MOE_OPTION',
      'biasIds',
      (i) => ({
        ...i,
        biasIds: ints([1], () => 1e6),
        biases: tensor([1], 'f32', () => 0),
        biasOffsets: ints([i.options.shape[0]! + 1], () => 0),
      }),
    ],
    [
      'history beyond the vocabulary',
      'ERR_MOE_OPTION',
      'history',
      (i) => ({ ...i, history: ints([1], () => 1e6) }),
    ],
  ],
}
