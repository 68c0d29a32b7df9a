import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, firstDifference, randomArray } from '../check.ts'
import type { Bench, KernelBench, Workbench } from '../workbench.ts'

const block = ops.blockTokens

/** Latents C and rotated part R of a cache row, keys P and values V of a head: as all released models have them. */
const [C, R, P, V] = [512, 64, 128, 128]

/** One token of each of `sequences` texts of `context` tokens. */
function places(bench: Workbench, sequences: number, context: number) {
  const M = Math.ceil(context / block)
  const ints = (n: number, value: (i: number) => number) =>
    bench.numbers(
      Int32Array.from({ length: n }, (_, i) => value(i)),
      [n],
    )
  return {
    starts: ints(sequences, () => 0),
    ends: ints(sequences, () => context - 1),
    sequences: ints(sequences, (t) => t),
    blockTable: bench.numbers(
      Int32Array.from({ length: sequences * M }, (_, i) => i),
      [sequences, M],
    ),
  }
}

/** Both forms of a decode step, from queries to values of heads: on latents, and on the keys and values made of them. */
async function* both(
  bench: Workbench,
  { heads: N, sequences: T, context }: { heads: number; sequences: number; context: number },
): AsyncGenerator<Omit<Bench, 'op'>> {
  const where = { ...places(bench, T, context), scale: 1 / Math.sqrt(P + R) }
  const blocks = T * Math.ceil(context / block)
  const { dtype, elementBytes: element } = bench
  const weightBytes = N * (P + V) * C * element
  const name = (form: string, values: number) =>
    `${N} heads, ${form}: ${values} values a token, context ${context}`
  const q = await bench.random([T, N * (P + R)])
  const many = (count: number, shape: [number, number]) =>
    Promise.all(Array.from({ length: count }, () => bench.weight(shape)))

  const rowBytes = T * context * (C + R) * element
  const absorbed: Bench['record'] = []
  for (let s = 0; s < bench.sets(rowBytes + weightBytes); s++) {
    const [keys, values] = [await many(N, [C, P]), await many(N, [V, C])]
    const cache = await bench.random([blocks, block, C + R])
    absorbed.push((plan) => {
      const first = ops.headLinear(plan, { x: q, weights: keys, dtype }).out
      const of = { q, absorbed: first, heads: N, cache, ...where }
      const mixed = ops.latentAttention(plan, of).out
      return ops.headLinear(plan, { x: mixed, weights: values, dtype })
    })
  }
  yield {
    ...{ shape: name('absorbed', C + R), tokens: T, record: absorbed },
    bytes: rowBytes + weightBytes,
    flops: 2 * T * N * ((P + V) * C + context * (2 * C + R)),
  }
  bench.release()

  const again = { ...places(bench, T, context), scale: where.scale }
  const [query, latent] = [await bench.random([T, N * (P + R)]), await bench.random([T, C])]
  const pairBytes = T * context * N * (P + R + V) * element
  const expanded: Bench['record'] = []
  for (let s = 0; s < bench.sets(pairBytes + weightBytes); s++) {
    const weight = await bench.weight([N * (P + V), C])
    const keys = await bench.random([blocks, N, P + R, block])
    const values = await bench.random([blocks, N, block, V])
    expanded.push((plan) => {
      ops.linear(plan, { x: latent, weight, dtype })
      return ops.attention(plan, { q: query, keys, values, ...again })
    })
  }
  yield {
    ...{ shape: name('expanded', N * (P + R + V)), tokens: T, record: expanded },
    bytes: pairBytes + weightBytes,
    flops: 2 * T * N * ((P + V) * C + context * (P + R + V)),
  }
  bench.release()
}

export const latentAttention: KernelBench = {
  op: 'latentAttention',

  async check(_, bench) {
    const [T, N, context] = [3, 2, 70]
    const M = Math.ceil(context / block)
    const L = C + R
    const q = randomArray([T, N * (P + R)], bench.dtype, 1)
    const absorbed = randomArray([T, N * C], bench.dtype, 2)
    const cache = randomArray([M, block, L], bench.dtype, 3)
    const ints = (n: number, value: (i: number) => number) => ({
      data: Int32Array.from({ length: n }, (_, i) => value(i)),
      shape: [n],
    })
    const scale = 1 / Math.sqrt(L)
    const { out } = await kernels.latentAttention(
      {
        ...{ q, absorbed, heads: N, cache, scale },
        ...{ positions: ints(T, (t) => context - T + t), starts: ints(T, () => 0) },
        ...{ sequences: ints(T, () => 0), blockTable: { ...ints(M, (i) => i), shape: [1, M] } },
      },
      { device: bench.name },
    )
    return firstDifference(bench, out, context + L, (t, column) => {
      const [n, c] = [Math.floor(column / C), column % C]
      const scores = Array.from({ length: context - T + t + 1 }, (_, s) => {
        let score = 0
        for (let d = 0; d < C; d++)
          score += at(absorbed, (t * N + n) * C + d) * at(cache, s * L + d)
        for (let r = 0; r < R; r++)
          score += at(q, (t * N + n) * (P + R) + r) * at(cache, s * L + C + r)
        return score * scale
      })
      const top = Math.max(...scores)
      const shares = scores.map((score) => Math.exp(score - top))
      const total = shares.reduce((a, b) => a + b)
      let [value, size] = [0, 0]
      for (const [s, share] of shares.entries()) {
        const term = (share / total) * at(cache, s * L + c)
        value += term
        size += 8 * Math.abs(term)
      }
      return [value, size]
    })
  },

  async *make({ shape, tokens }, bench) {
    const contexts = bench.rotateBytes > 0 ? [512, 4096] : [64]
    for (const sequences of tokens.filter((t) => t <= 8))
      for (const context of contexts)
        for await (const one of both(bench, { heads: shape.heads, sequences, context }))
          yield { op: this.op, ...one }
  },
}
