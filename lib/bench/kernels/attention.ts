import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, firstDifference, randomArray } from '../check.ts'
import type { ModelShape } from '../shapes.ts'
import type { Bench, KernelBench, Workbench } from '../workbench.ts'
import { attended, lastTokens, places, positionOf, type Texts } from './texts.ts'

const block = ops.blockTokens

/** One prefill of T tokens, or one token of each of `sequences` texts of `context` tokens. */
async function setting(
  bench: Workbench,
  shape: ModelShape,
  texts: Texts,
): Promise<Omit<Bench, 'op'>> {
  const { heads: N, keyValueHeads: G, headSize: D } = shape
  const { sequences, context, tokens } = texts
  const M = Math.ceil(context / block)
  const T = sequences * tokens
  const visible = places(bench, texts)
  const cacheBytes = 2 * sequences * context * G * D * bench.elementBytes
  const q = await bench.random([T, N * D])
  const scale = 1 / Math.sqrt(D)
  const record: Bench['record'] = []
  for (let s = 0; s < bench.sets(cacheBytes, cacheBytes, 16); s++) {
    const keys = await bench.random([sequences * M, G, D, block])
    const values = await bench.random([sequences * M, G, block, D])
    record.push((plan) => ops.attention(plan, { q, keys, values, ...visible, scale }))
  }
  let pairs = 0
  for (let t = 0; t < T; t++) pairs += positionOf(texts, t) + 1
  const kind = tokens > 1 ? 'prefill' : `decode, context ${context}`
  return {
    ...{ shape: `${N} heads, ${G} key heads of ${D}, ${kind}`, tokens: T, record },
    bytes: cacheBytes + 2 * T * N * D * bench.elementBytes,
    flops: 4 * pairs * N * D,
  }
}

export const attention: KernelBench = {
  op: 'attention',

  async check({ headSize: D }, bench) {
    for (const T of [1, 20]) {
      const context = 70
      const M = Math.ceil(context / block)
      const [q, keys] = [
        randomArray([T, D], bench.dtype, 1),
        randomArray([M, 1, D, block], bench.dtype, 2),
      ]
      const values = randomArray([M, 1, block, D], bench.dtype, 3)
      const scale = 1 / Math.sqrt(D)
      const { out } = await kernels.attention(
        { q, keys, values, scale, ...lastTokens(T, context) },
        { device: bench.name },
      )
      const wrong = firstDifference(bench, out, context + D, (t, d) => {
        const seen = context - T + t + 1
        const scores = Array.from({ length: seen }, (_, s) => {
          const base = Math.floor(s / block) * D * block + (s % block)
          let score = 0
          for (let i = 0; i < D; i++) score += at(q, t * D + i) * at(keys, base + i * block)
          return score * scale
        })
        return attended(scores, (s) => at(values, s * D + d))
      })
      if (wrong) return wrong
    }
    return undefined
  },

  async *make({ shape, tokens }, bench) {
    const contexts = bench.rotateBytes > 0 ? [512, 4096] : [64]
    for (const sequences of tokens.filter((t) => t <= 64))
      for (const context of contexts) {
        yield { op: this.op, ...(await setting(bench, shape, { sequences, context, tokens: 1 })) }
        bench.release()
      }
    for (const T of tokens.filter((t) => t > 16 && t <= 8192)) {
      yield {
        op: this.op,
        ...(await setting(bench, shape, { sequences: 1, context: T, tokens: T })),
      }
      bench.release()
    }
  },
}
