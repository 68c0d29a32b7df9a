import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, randomArray } from '../check.ts'
import { chooseIds, type ModelShape } from '../shapes.ts'
import type { KernelBench } from '../workbench.ts'

/** Tokens that an expert takes of T choices of K: V-MoE's 1.05 times an even share (arXiv:2106.05974). */
const capacityOf = ({ kinds }: ModelShape, choices: number): number =>
  Math.ceil((1.05 * choices) / kinds.length)

/** Weights [T, K], best first. */
const falling = (T: number, K: number) =>
  Float32Array.from({ length: T * K }, (_, i) => ((i * 37) % 64) / 256 + (1 - (i % K) / K) / 2)

const whole = (T: number) => ({ data: Int32Array.of(0, T), shape: [2] })

export const limitCapacity: KernelBench = {
  op: 'limitCapacity',

  async check(shape, bench) {
    const [T, K, E] = [40, shape.topK, shape.kinds.length]
    const ids = chooseIds('zipf', T, shape.kinds, K, 1)
    const weights = falling(T, K)
    const capacity = capacityOf(shape, T * K)
    const { rows } = await kernels.limitCapacity(
      {
        ...{ ids: { data: ids, shape: [T, K] }, weights: { data: weights, shape: [T, K] } },
        ...{ segments: whole(T), experts: E, capacity, order: 'priority' },
      },
      { device: bench.name },
    )
    const best = (t: number) => weights[t * K]!
    const order = Array.from({ length: T }, (_, t) => t).sort((a, b) => best(b) - best(a))
    const taken = new Map<number, number>()
    for (let k = 0; k < K; k++)
      for (const t of order) {
        const [slot, id] = [t * K + k, ids[t * K + k]!]
        taken.set(id, (taken.get(id) ?? 0) + 1)
        const served = taken.get(id)! <= capacity
        if (rows.data[slot]! >= 0 !== served) return `token ${t}: ${served ? 'dropped' : 'served'}`
      }
    return undefined
  },

  async *make({ shape, tokens, routings }, bench) {
    const [K, E] = [shape.topK, shape.kinds.length]
    for (const T of tokens)
      for (const routing of routings) {
        const bytes = 12 * T * K
        const capacity = capacityOf(shape, T * K)
        const segments = bench.numbers(whole(T).data, [2])
        const made = await bench.rotating(bytes, async () => ({
          ids: bench.numbers(chooseIds(routing, T, shape.kinds, K, 1), [T, K]),
          weights: bench.numbers(falling(T, K), [T, K]),
        }))
        const limits = { segments, experts: E, capacity, order: 'priority' } as const
        yield {
          ...{ op: this.op, shape: `[T, ${K}] of ${E}, by priority`, tokens: T, routing },
          ...{ bytes, flops: 0 },
          record: made.map((given) => (plan) => ops.limitCapacity(plan, { ...given, ...limits })),
        }
        bench.release()
      }
  },
}

export const expertChoice: KernelBench = {
  op: 'expertChoice',

  async check(shape, bench) {
    const [T, E] = [40, shape.kinds.length]
    const logits = randomArray([T, E], 'f32', 1)
    const capacity = capacityOf(shape, T)
    const { rows } = await kernels.expertChoice(
      { logits, segments: whole(T), capacity },
      { device: bench.name },
    )
    const share = (t: number, e: number) => {
      const row = Array.from({ length: E }, (_, i) => Math.exp(at(logits, t * E + i)))
      return row[e]! / row.reduce((a, b) => a + b)
    }
    for (let e = 0; e < E; e++) {
      const shares = Array.from({ length: T }, (_, t) => share(t, e))
      const order = shares.map((_, t) => t).sort((a, b) => shares[b]! - shares[a]!)
      const taken = new Set(order.slice(0, capacity))
      for (let t = 0; t < T; t++)
        if (rows.data[t * E + e]! >= 0 !== taken.has(t)) return `expert ${e}, token ${t}`
    }
    return undefined
  },

  async *make({ shape, tokens }, bench) {
    const E = shape.kinds.length
    for (const T of tokens) {
      const bytes = 16 * T * E
      const capacity = capacityOf(shape, T)
      const segments = bench.numbers(whole(T).data, [2])
      const made = await bench.rotating(bytes, () => bench.random([T, E], 'f32'))
      yield {
        ...{ op: this.op, shape: `[T, ${E}]`, tokens: T, bytes, flops: 0 },
        record: made.map((logits) => (plan) => {
          ops.expertChoice(plan, { logits, segments, capacity })
        }),
      }
      bench.release()
    }
  },
}
