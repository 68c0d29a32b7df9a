import { describe, expect, it } from 'vitest'
import type { DeviceName, ExpertKind } from '../../lib/index.ts'
import type { Plan, Tensor } from '../../lib/native.ts'
import * as ops from '../../lib/ops/index.ts'
import { OneOp } from '../../lib/standalone/one_op.ts'
import { type DType, ints, Random } from '../cases/case.ts'
import { gpus } from '../support/gpus.ts'

/** An op between two others, so that neither takes the other into its launch. */
function keepApart(plan: Plan, one: OneOp): void {
  const x = one.input('x', { data: new Float32Array(1), shape: [1, 1] })
  ops.gatherRows(
    plan,
    x,
    one.input(
      'rows',
      ints([1], () => 0),
    ),
  )
}

/** What two ops give, one after the other, and how many kernels they are. */
async function run(
  device: DeviceName,
  apart: boolean,
  record: (one: OneOp, between: () => void) => Promise<Record<string, Tensor>>,
) {
  const one = new OneOp('test', { device })
  const outputs = await record(one, () => {
    if (apart) keepApart(one.plan, one)
  })
  const first = await one.run(outputs)
  await one.run(outputs) // captured
  const { launches } = await one.plan.time(1, 1)
  return { launches: launches - Number(apart), first }
}

const kinds: ExpertKind[] = ['ffn', 'ffn', 'ffn', 'constant', 'constant', 'copy', 'zero']

const combineAndProject =
  (T: number, dtype: DType, H: number, N: number) => async (one: OneOp, between: () => void) => {
    const random = new Random(7)
    const K = 2
    const chosen = Array.from({ length: T }, (_, t) => [(3 * t + 1) % 7, (3 * t + 4) % 7]).flat()
    let next = 0
    const rows = chosen.map((id) => (kinds[id] === 'ffn' ? next++ : -1))
    const input = (name: string, shape: number[], of: DType) =>
      one.input(name, random.tensor(shape, of))
    const x = ops.combine(one.plan, {
      expertOut: input('expertOut', [T * K, H], dtype),
      rows: one.input(
        'rows',
        ints([T, K], (i) => rows[i]!),
      ),
      ids: one.input(
        'ids',
        ints([T, K], (i) => chosen[i]!),
      ),
      weights: input('weights', [T, K], 'f32'),
      residual: input('residual', [T, H], 'f32'),
      kinds,
      x: input('x', [T, H], dtype),
      constants: input('constants', [2, H], 'f32'),
      gates: input('gates', [2, 2, H], 'f32'),
    })
    const norm = { x, weight: input('norm', [H], 'f32'), eps: 1e-5, dtype }
    const weight = await one.weight('weight', random.tensor([N, H], dtype, 0.1))
    between()
    return { x, ...ops.normLinear(one.plan, norm, weight, dtype) }
  }

const rotateAndAttend =
  (lengths: number[], dtype: DType, [N, G, D]: [number, number, number], window = 1e9) =>
  async (one: OneOp, between: () => void) => {
    const random = new Random(3)
    const T = lengths.length
    const M = Math.ceil(Math.max(...lengths) / ops.blockTokens)
    const at = (name: string, value: (t: number) => number, shape = [T]) =>
      one.input(name, ints(shape, value))
    const input = (name: string, shape: number[]) => one.input(name, random.tensor(shape, dtype))
    const position = (t: number) => lengths[t]! - 1
    const qkv = input('qkv', [T, (N + 2 * G) * D])
    const q = qkv.columns(0, N * D)
    const k = qkv.columns(N * D, G * D)
    const v = qkv.columns((N + G) * D, G * D)
    const cache = {
      keys: input('keys', [T * M, G, D, ops.blockTokens]),
      values: input('values', [T * M, G, ops.blockTokens, D]),
    }
    const positions = at('positions', position)
    const slots = at(
      'slots',
      (t) => (t * M + (position(t) >> 5)) * ops.blockTokens + (position(t) & 31),
    )
    const table = one.input('table', random.tensor([Math.max(...lengths), (D >> 2) << 1], 'f32'))
    ops.ropeCache(one.plan, { q, k, v }, { positions, slots, table }, cache)
    between()
    const visible = {
      positions,
      starts: at('starts', (t) => Math.max(0, position(t) + 1 - window)),
      sequences: at('sequences', (t) => t),
      blockTable: at('blockTable', (i) => i, [T, M]),
    }
    return { out: ops.attention(one.plan, q, cache, visible, 1 / Math.sqrt(D)), ...cache }
  }

describe.each(gpus)('an op takes the one before into its launch, on $name', ({ device }) => {
  const cases: [string, Parameters<typeof run>[2], apart: number][] = (
    ['f32', 'bf16'] as const
  ).flatMap((dtype) => [
    [`combine and projection, ${dtype}`, combineAndProject(1, dtype, 64, 40), 2],
    [`the same of four tokens, ${dtype}`, combineAndProject(4, dtype, 35, 20), 2],
    [`rotation and attention, ${dtype}`, rotateAndAttend([1], dtype, [2, 2, 16]), 2],
    [`the same in ranges, ${dtype}`, rotateAndAttend([300, 32, 33], dtype, [4, 2, 24]), 2],
    [`the same in a window, ${dtype}`, rotateAndAttend([190, 7], dtype, [2, 1, 10], 40), 2],
  ])

  it.each(cases)('%s: fewer launches, the same bits', async (_, record, apart) => {
    const [together, separate] = [await run(device, false, record), await run(device, true, record)]
    expect(together.first).toEqual(separate.first)
    expect([together.launches, separate.launches]).toEqual([1, apart])
  })
})
