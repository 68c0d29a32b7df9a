import { describe, expect, it } from 'vitest'
import type { DeviceName, ExpertKind } from '../../lib/index.ts'
import type { Tensor } from '../../lib/native.ts'
import * as ops from '../../lib/ops/index.ts'
import { OneOp } from '../../lib/standalone/one_op.ts'
import { type DType, ints, Random } from '../cases/case.ts'
import { gpus } from '../support/gpus.ts'

type Record = (one: OneOp) => Promise<{ [name: string]: Tensor | undefined }>

/** What recorded ops give, and how many kernels they are. */
async function run(device: DeviceName, fuse: boolean, record: Record) {
  const one = new OneOp('test', { device, fuse })
  const outputs = Object.entries(await record(one)).filter(([, tensor]) => tensor)
  one.output(Object.fromEntries(outputs))
  const results = await one.run()
  await one.run() // captured
  const { launches } = await one.plan.time(1, 1)
  return { launches, results }
}

const kinds: ExpertKind[] = ['ffn', 'ffn', 'ffn', 'constant', 'constant', 'copy', 'zero']
const K = 2

/** Inputs with these random numbers. */
const source = (one: OneOp, seed: number) => {
  const random = new Random(seed)
  return {
    array: (name: string, shape: number[], dtype: DType = 'f32') =>
      one.input(name, random.tensor(shape, dtype)),
    integers: (name: string, shape: number[], value: (i: number) => number) =>
      one.input(name, ints(shape, value)),
    weight: (shape: number[], dtype: DType) =>
      one.weight('weight', random.tensor(shape, dtype, 0.1)),
  }
}

const combineNormProject =
  (T: number, dtype: DType, H: number, N: number): Record =>
  async (one) => {
    const { array, integers, weight } = source(one, 7)
    const chosen = Array.from({ length: T }, (_, t) => [(3 * t + 1) % 7, (3 * t + 4) % 7]).flat()
    let next = 0
    const rowOf = chosen.map((id) => (kinds[id] === 'ffn' ? next++ : -1))
    const x = ops.combine(one.plan, {
      expertOut: array('expertOut', [T * K, H], dtype),
      rows: integers('rows', [T, K], (i) => rowOf[i]!),
      ids: integers('ids', [T, K], (i) => chosen[i]!),
      weights: array('weights', [T, K]),
      residual: array('residual', [T, H]),
      kinds,
      x: array('x', [T, H], dtype),
      constants: array('constants', [2, H]),
      gates: array('gates', [2, 2, H]),
      factor: 0.22,
    }).out
    const norm = { x, weight: array('norm', [H]), eps: 1e-5, dtype, keepF32: true }
    const { out: normed, exact } = ops.rmsNorm(one.plan, norm)
    const projection = { x: normed, weight: await weight([N, H], dtype), dtype }
    return { x, normed, exact, out: ops.linear(one.plan, projection).out }
  }

/** A projection with all that it can do to its sums. */
const normProject =
  (T: number, dtype: DType, fields: Partial<ops.LinearInputs> = {}): Record =>
  async (one) => {
    const { array, weight } = source(one, 11)
    const [H, N] = [56, 24]
    const norm = { x: array('x', [T, H]), weight: array('norm', [H]), eps: 1e-5, dtype }
    const normed = ops.rmsNorm(one.plan, norm).out
    const { out } = ops.linear(one.plan, {
      ...{ x: normed, weight: await weight([N, H], dtype), bias: array('bias', [N]), dtype },
      ...{ rowScale: array('rowScale', [T, 1]), residual: array('residual', [T, N]), scale: 0.3 },
      ...fields,
    })
    return { normed, out }
  }

type RouterKind = 'plain' | 'biased' | 'carried' | 'attention'
type Choice = Partial<Omit<ops.TopKInputs, 'logits' | 'choiceBias'>>

const routed =
  (
    T: number,
    E: number,
    kind: RouterKind,
    dtype: DType,
    of: DType = dtype,
    choice?: Choice,
  ): Record =>
  async (one) => {
    const { array, integers, weight } = source(one, 5)
    const H = 72
    const norm = { x: array('x', [T, H]), weight: array('norm', [H]), eps: 1e-5, dtype }
    const normed = ops.rmsNorm(one.plan, norm).out
    const carry = { x: array('previous', [T, E]), weight: await weight([E, E], of) }
    const residual = kind === 'carried' ? ops.linear(one.plan, carry).out : undefined
    const projection = await weight([kind === 'attention' ? 3 * E : E, H], of)
    const bias = kind === 'biased' ? array('bias', [E]) : undefined
    const projected = ops.linear(one.plan, { x: normed, weight: projection, bias, residual }).out
    const logits =
      kind === 'attention' ? ops.attentionRouter(one.plan, { qkv: projected }).logits : projected
    const options = {
      ...{ kinds: Array<ExpertKind>(E).fill('ffn'), topK: Math.min(3, E) },
      ...{ weights: 'renormalized' as const, normStd: 1, ...choice },
      choiceBias: choice?.score === 'sigmoid' ? array('choiceBias', [E]) : undefined,
      // Every other token has its logits changed.
      ...(kind === 'biased' && {
        adjust: array('adjust', [2, E]),
        adjustOf: integers('adjustOf', [T], (t) => (t % 3) - 1),
        counts: integers('counts', [E, 2], () => 0),
      }),
    }
    const { counts } = options
    return { normed, logits, ...ops.topK(one.plan, { logits, ...options }), counts }
  }

const groups: Choice = { groups: 8, keptGroups: 4, groupScore: 'top2', topK: 8, normStd: 0 }
const sigmoid: Choice = { score: 'sigmoid', factor: 2.5, ...groups }

const gathered =
  (T: number, dtype: DType, of: DType): Record =>
  async (one) => {
    const { array, integers, weight } = source(one, 9)
    const [E, H, I] = [3, 40, 24]
    const chosen = Array.from({ length: T * K }, (_, i) => (i * 2 + (i >> 1)) % E)
    const counts = Array.from({ length: E }, (_, e) => chosen.filter((id) => id === e).length)
    const ends = counts.map((_, e) => counts.slice(0, e).reduce((a, b) => a + b, 0))
    const rows = chosen.map((id) => ends[id]!++)
    const x = array('x', [T, H], dtype)
    const permuted = ops.permute(one.plan, {
      x,
      rows: integers('rows', [T, K], (i) => rows[i]!),
    }).out
    const offsets = integers('offsets', [E + 1], (e) => (e === 0 ? 0 : ends[e - 1]!))
    const weights = await Promise.all(Array.from({ length: E }, () => weight([I, H], of)))
    const biases = array('biases', [E, I])
    return { out: ops.groupedGemm(one.plan, { x: permuted, offsets, weights, biases, dtype }).out }
  }

/** Tokens of sequences, and the position of each sequence's first one. */
const convolution =
  (tokens: number[], positions: number[], dtype: DType, C: number, N: number): Record =>
  async (one) => {
    const { array, integers, weight } = source(one, 17)
    const M = 1 + (Math.max(...positions.map((p, b) => p + tokens[b]!)) >> 5)
    const places = tokens.flatMap((count, b) =>
      Array.from({ length: count }, (_, i) => ({ b, p: positions[b]! + i })),
    )
    const T = places.length
    const state = array('state', [tokens.length * M, C], dtype)
    const pairs = ops.causalPair(one.plan, {
      ...{ x: array('x', [T, C], dtype), state },
      positions: integers('positions', [T], (t) => places[t]!.p),
      slots: integers('slots', [T], (t) => places[t]!.b * M * ops.blockTokens + places[t]!.p),
      sequences: integers('sequences', [T], (t) => places[t]!.b),
      blockTable: integers('blockTable', [tokens.length, M], (i) => i),
    }).out
    const residual = array('residual', [T, N])
    const taps = { weight: await weight([N, 2 * C], dtype), bias: array('bias', [N]), residual }
    return { out: ops.linear(one.plan, { x: pairs, ...taps, dtype }).out, state }
  }

const rotateAndAttend =
  (
    lengths: number[],
    dtype: DType,
    [N, G, D, V = D]: [number, number, number, number?],
    { window = 1e9, sinks = false, norms = false, show = false } = {},
  ): Record =>
  async (one) => {
    const { array, integers } = source(one, 3)
    const T = lengths.length
    const M = Math.ceil(Math.max(...lengths) / ops.blockTokens)
    const position = (t: number) => lengths[t]! - 1
    const qkv = array('qkv', [T, (N + G) * D + G * V], dtype)
    const normed = (x: Tensor) =>
      norms ? ops.rmsNorm(one.plan, { x, weight: array('norm', [D]), eps: 1e-5, dtype }).out : x
    const q = normed(qkv.columns(0, N * D))
    const k = normed(qkv.columns(N * D, G * D))
    const v = qkv.columns((N + G) * D, G * V)
    const keys = array('keys', [T * M, G, D, ops.blockTokens], dtype)
    const values = array('values', [T * M, G, ops.blockTokens, V], dtype)
    const positions = integers('positions', [T], position)
    const slots = integers(
      'slots',
      [T],
      (t) => (t * M + (position(t) >> 5)) * ops.blockTokens + (position(t) & 31),
    )
    const table = array('table', [Math.max(...lengths), (D >> 2) << 1])
    ops.ropeCache(one.plan, { q, k, v, positions, slots, table, keys, values })
    const { out } = ops.attention(one.plan, {
      ...{ q, keys, values, ends: positions, scale: 1 / Math.sqrt(D) },
      ...(sinks && { sinks: array('sinks', [N]) }),
      starts: integers('starts', [T], (t) => Math.max(0, position(t) + 1 - window)),
      sequences: integers('sequences', [T], (t) => t),
      blockTable: integers('blockTable', [T, M], (i) => i),
    })
    return { out, keys, values, ...(show && { k }) }
  }

describe.each(gpus)('fused ops, on $name', ({ device }) => {
  const cases: [string, Record, apart: number][] = (['f32', 'bf16'] as const).flatMap((dtype) => [
    [`combine, norm and projection, ${dtype}`, combineNormProject(1, dtype, 64, 40), 3],
    [`the same of four tokens, ${dtype}`, combineNormProject(4, dtype, 35, 20), 3],
    [`norm and projection with bias and factors, ${dtype}`, normProject(3, dtype), 2],
    [`the same with an activation, ${dtype}`, normProject(2, dtype, { activation: 'silu' }), 2],
    [`a router, ${dtype}`, routed(1, 6, 'plain', dtype), 3],
    [`a router with logits from below, ${dtype}`, routed(8, 32, 'carried', dtype), 4],
    [`the same of f32 weights, ${dtype}`, routed(3, 9, 'carried', dtype, 'f32'), 4],
    [`an attention router, ${dtype}`, routed(5, 20, 'attention', dtype), 4],
    [`a router with a bias, ${dtype}`, routed(7, 32, 'biased', dtype), 3],
    [`a router of 128 experts, ${dtype}`, routed(2, 128, 'plain', dtype), 3],
    [`a router of 256 in groups, ${dtype}`, routed(8, 256, 'biased', dtype, dtype, sigmoid), 3],
    [`gathered rows, ${dtype}`, gathered(1, dtype, dtype), 2],
    [`more gathered rows, ${dtype}`, gathered(11, dtype, 'bf16'), 2],
    [`a convolution, ${dtype}`, convolution([1], [5], dtype, 16, 72), 2],
    [
      `the same of texts that begin, go on and end a block, ${dtype}`,
      convolution([1, 1, 2], [0, 32, 31], dtype, 34, 40),
      2,
    ],
    [`rotation and attention, ${dtype}`, rotateAndAttend([1], dtype, [2, 2, 16]), 2],
    [`the same in ranges, ${dtype}`, rotateAndAttend([300, 32, 33], dtype, [4, 2, 24]), 2],
    [
      `the same in a window, ${dtype}`,
      rotateAndAttend([190, 7], dtype, [2, 1, 10], { window: 40 }),
      2,
    ],
    [
      `the same of wider values with sinks, ${dtype}`,
      rotateAndAttend([300, 7], dtype, [4, 2, 16, 24], { sinks: true }),
      2,
    ],
    [
      `the same behind norms of heads, ${dtype}`,
      rotateAndAttend([300, 7], dtype, [4, 2, 16], { norms: true }),
      4,
    ],
    [
      `the same of a head size that is not aligned, ${dtype}`,
      rotateAndAttend([40, 7], dtype, [4, 2, 10], { norms: true }),
      4,
    ],
    [
      `the same of wide heads, ${dtype}`,
      rotateAndAttend([33], dtype, [2, 2, 264], { norms: true }),
      4,
    ],
  ])

  it.each(cases)('%s: one launch, the same bits', async (_, record, apart) => {
    const [fused, separate] = [await run(device, true, record), await run(device, false, record)]
    expect(fused.results).toEqual(separate.results)
    expect([fused.launches, separate.launches]).toEqual([1, apart])
  })

  // 100 KB of sums and rows: sm_120 has 99, the others more. One device of each kind.
  if (/^cuda-sim:[07]$/.test(device))
    it('runs apart what does not fit shared memory', async () => {
      const record = combineNormProject(4, 'bf16', 4096, 16)
      const [fused, separate] = [await run(device, true, record), await run(device, false, record)]
      expect(fused.results).toEqual(separate.results)
      expect([fused.launches, separate.launches]).toEqual([device === 'cuda-sim:7' ? 3 : 1, 3])
    })

  it('a residual that the fused launch would write is read after it', async () => {
    const record =
      (own: boolean): Record =>
      async (one) => {
        const { array, integers, weight } = source(one, 13)
        const [T, H] = [4, 40]
        const x = ops.combine(one.plan, {
          ...{ expertOut: array('expertOut', [T, H]), residual: array('residual', [T, H]) },
          ...{ rows: integers('rows', [T, 1], (t) => t), ids: integers('ids', [T, 1], () => 0) },
          ...{ weights: array('weights', [T, 1]), kinds: ['ffn'] },
        }).out
        const normed = ops.rmsNorm(one.plan, { x, weight: array('norm', [H]), eps: 1e-5 }).out
        const residual = own ? x : array('other', [T, H])
        const projection = { x: normed, weight: await weight([H, H], 'f32'), residual }
        return { x, normed, out: ops.linear(one.plan, projection).out }
      }
    const [kept, fused] = [
      await run(device, true, record(true)),
      await run(device, true, record(false)),
    ]
    expect([kept.launches, fused.launches]).toEqual([3, 1])
    expect(kept.results).toEqual((await run(device, false, record(true))).results)
  })

  it('what somebody else reads is not fused away', async () => {
    const record: Record = async (one) => {
      const { out } = await gathered(2, 'bf16', 'bf16')(one)
      return { out }
    }
    const kept = await run(device, true, async (one) => {
      const { array, integers, weight } = source(one, 9)
      const rows = integers('rows', [2, 1], (i) => i)
      const permuted = ops.permute(one.plan, { x: array('x', [2, 40], 'bf16'), rows }).out
      const offsets = integers('offsets', [2], (e) => 2 * e)
      const weights = [await weight([24, 40], 'bf16')]
      return { permuted, out: ops.groupedGemm(one.plan, { x: permuted, offsets, weights }).out }
    })
    expect(kept.launches).toBe(2)
    expect((await run(device, true, record)).launches).toBe(1)
  })

  it('rows that matrix units take are not gathered', async () => {
    const launches = async (T: number) =>
      (await run(device, true, gathered(T, 'bf16', 'bf16'))).launches
    expect([await launches(12), await launches(13)]).toEqual([1, 2])
  })

  it('normed heads that somebody else reads stay', async () => {
    const record = rotateAndAttend([40, 7], 'bf16', [4, 2, 16], { norms: true, show: true })
    const [fused, separate] = [await run(device, true, record), await run(device, false, record)]
    expect(fused.results).toEqual(separate.results)
    expect(fused.launches).toBe(3)
  })

  it.each([
    ['heads', 16, 'f32'],
    ['bf16 rows', 64, 'bf16'],
  ] as const)('a norm of %s is a launch of its own', async (_, D, of) => {
    const record: Record = async (one) => {
      const { array, weight } = source(one, 2)
      const x = array('x', [2, 80], of).columns(8, 64)
      const { out } = ops.rmsNorm(one.plan, { x, weight: array('norm', [D]), eps: 1e-5 })
      return { out: ops.linear(one.plan, { x: out, weight: await weight([24, 64], 'f32') }).out }
    }
    const [fused, separate] = [await run(device, true, record), await run(device, false, record)]
    expect(fused.results).toEqual(separate.results)
    expect(fused.launches).toBe(2)
  })
})
