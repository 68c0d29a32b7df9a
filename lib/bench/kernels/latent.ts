import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, firstDifference, randomArray } from '../check.ts'
import type { Bench, KernelBench, Workbench } from '../workbench.ts'
import { attended, lastTokens, places, positionOf, type Texts } from './texts.ts'

const block = ops.blockTokens

/** Latents C and rotated part R of a cache row, keys P and values V of a head: as all released models have them. */
const [C, R, P, V] = [512, 64, 128, 128]

/** Both forms of a step, from queries to values of heads: on latents, and on the keys and values made of them. */
async function* both(bench: Workbench, N: number, texts: Texts): AsyncGenerator<Omit<Bench, 'op'>> {
  const { sequences, context, tokens } = texts
  const where = { ...places(bench, texts), scale: 1 / Math.sqrt(P + R) }
  const T = sequences * tokens
  const blocks = sequences * Math.ceil(context / block)
  let pairs = 0
  for (let t = 0; t < T; t++) pairs += positionOf(texts, t) + 1
  const { dtype, elementBytes: element } = bench
  const weightBytes = N * (P + V) * C * element
  const name = (form: string, values: number) =>
    `${N} heads, ${form}: ${values} values a token, ${tokens > 1 ? 'prefill' : `context ${context}`}`
  const q = await bench.random([T, N * (P + R)])
  const many = (count: number, shape: [number, number]) =>
    Promise.all(Array.from({ length: count }, () => bench.weight(shape)))

  const most = tokens > 1 ? 2 : 64 // a prefill does not wait for memory
  const rowBytes = sequences * context * (C + R) * element
  const absorbed: Bench['record'] = []
  for (let s = 0; s < bench.sets(rowBytes + weightBytes, rowBytes + weightBytes, most); s++) {
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
    flops: 2 * N * (T * (P + V) * C + pairs * (2 * C + R)),
  }
  bench.release()

  const again = { ...places(bench, texts), scale: where.scale }
  const [query, latent] = [await bench.random([T, N * (P + R)]), await bench.random([T, C])]
  const pairBytes = sequences * context * N * (P + R + V) * element
  const expanded: Bench['record'] = []
  for (let s = 0; s < bench.sets(pairBytes + weightBytes, pairBytes + weightBytes, most); s++) {
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
    flops: 2 * N * (T * (P + V) * C + pairs * (P + R + V)),
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
    const scale = 1 / Math.sqrt(L)
    const { out } = await kernels.latentAttention(
      { q, absorbed, heads: N, cache, scale, ...lastTokens(T, context) },
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
      return attended(scores, (s) => at(cache, s * L + c))
    })
  },

  async *make({ shape, tokens }, bench) {
    const contexts = bench.rotateBytes > 0 ? [512, 4096] : [64]
    const decode = tokens
      .filter((t) => t <= 16)
      .flatMap((sequences) => contexts.map((context) => ({ sequences, context, tokens: 1 })))
    const prefill = tokens
      .filter((t) => t > 16 && t <= 4096)
      .map((T) => ({ sequences: 1, context: T, tokens: T }))
    for (const texts of [...decode, ...prefill])
      for await (const one of both(bench, shape.heads, texts)) yield { op: this.op, ...one }
  },
}
