import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, firstDifference, normedRow, randomArray } from '../check.ts'
import type { Bench, KernelBench } from '../workbench.ts'

const T_ = 20 // tokens of a check

export const rmsNorm: KernelBench = {
  op: 'rmsNorm',

  async check({ hidden: H }, bench) {
    const [x, weight] = [randomArray([T_, H], 'f32', 1), randomArray([H], 'f32', 2)]
    const options = { device: bench.name }
    const { out } = await kernels.rmsNorm({ x, weight, eps: 1e-6, dtype: bench.dtype }, options)
    return firstDifference(bench, out, H, (t, h) => {
      const value = normedRow(x, weight, 1e-6, t)(h)
      return [value, Math.abs(value)]
    })
  },

  async *make({ shape: { hidden: H }, tokens }, bench) {
    for (const T of tokens) {
      const bytes = T * H * (4 + bench.elementBytes)
      const weight = await bench.random([H], 'f32')
      const xs = await bench.rotating(bytes, () => bench.random([T, H], 'f32'))
      const inputs = { weight, eps: 1e-6, dtype: bench.dtype }
      yield {
        ...{ op: this.op, shape: `[T, ${H}]`, tokens: T, bytes, flops: 0 },
        record: xs.map((x) => (plan) => ops.rmsNorm(plan, { x, ...inputs })),
      }
      bench.release()
    }
  },
}

export const embedding: KernelBench = {
  op: 'embedding',

  async check({ hidden: H }, bench) {
    const table = randomArray([50, H], bench.dtype, 1)
    const ids = { data: Int32Array.from({ length: T_ }, (_, t) => (t * 7) % 50), shape: [T_] }
    const { out } = await kernels.embedding({ table, ids }, { device: bench.name })
    return firstDifference(bench, out, 0, (t, h) => [at(table, ids.data[t]! * H + h), 0])
  },

  async *make({ shape: { hidden: H, vocab }, tokens }, bench) {
    const table = await bench.random([vocab, H])
    for (const T of tokens) {
      const bytes = T * H * (bench.elementBytes + 4)
      const record: Bench['record'] = []
      for (let s = 0; s < bench.sets(bytes, 0); s++) {
        const numbers = Int32Array.from({ length: T }, (_, t) => ((t + s * T) * 7919) % vocab)
        const ids = bench.numbers(numbers, [T])
        record.push((plan) => ops.embedding(plan, { table, ids }))
      }
      yield { op: this.op, shape: `[${vocab}, ${H}]`, tokens: T, bytes, flops: 0, record }
    }
    bench.release()
  },
}

export const ropeCache: KernelBench = {
  op: 'ropeCache',

  async check({ keyValueHeads: G, headSize: D }, bench) {
    const [T, half] = [T_, D / 2]
    const table = randomArray([T, D], 'f32', 1)
    const [q, k, v] = [2, 3, 4].map((seed) => randomArray([T, G * D], bench.dtype, seed))
    const slots = { data: Int32Array.from({ length: T }, (_, t) => t), shape: [T] }
    const cache = (shape: number[]) => randomArray(shape, bench.dtype, 5)
    const { q: rotated, keys } = await kernels.ropeCache(
      {
        ...{ q: q!, k: k!, v: v!, table, positions: slots, slots },
        ...{ keys: cache([1, G, D, 32]), values: cache([1, G, 32, D]) },
      },
      { device: bench.name },
    )
    const want = (rows: typeof q) => (t: number, column: number) => {
      const j = column % D
      const [sign, partner] = j < half ? [-1, column + half] : [1, column - half]
      const terms = [
        at(rows!, t * G * D + column) * at(table, t * D + (j % half)),
        sign! * at(rows!, t * G * D + partner!) * at(table, t * D + half + (j % half)),
      ]
      return [terms[0]! + terms[1]!, Math.abs(terms[0]!) + Math.abs(terms[1]!)] as [number, number]
    }
    const key = (t: number, column: number) => keys.data[column * 32 + t]!
    const written = { ...rotated, data: rotated.data.slice() }
    for (let t = 0; t < T; t++)
      for (let column = 0; column < G * D; column++)
        written.data[t * G * D + column] = key(t, column)
    return (
      firstDifference(bench, rotated, 2, want(q)) ?? firstDifference(bench, written, 2, want(k))
    )
  },

  async *make({ shape: { heads: N, keyValueHeads: G, headSize: D }, tokens }, bench) {
    for (const T of tokens) {
      const blocks = Math.ceil(T / ops.blockTokens)
      const numbers = bench.numbers(
        Int32Array.from({ length: T }, (_, t) => t),
        [T],
      )
      const table = await bench.random([T, D], 'f32')
      const places = { positions: numbers, slots: numbers, table }
      const width = (N + 2 * G) * D
      const bytes = T * (2 * width * bench.elementBytes + 4 * D)
      const record: Bench['record'] = []
      for (let s = 0; s < bench.sets(bytes); s++) {
        const qkv = await bench.random([T, width])
        const rows = {
          q: qkv.columns(0, N * D),
          k: qkv.columns(N * D, G * D),
          v: qkv.columns((N + G) * D, G * D),
        }
        const cache = {
          keys: await bench.random([blocks, G, D, ops.blockTokens]),
          values: await bench.random([blocks, G, ops.blockTokens, D]),
        }
        record.push((plan) => ops.ropeCache(plan, { ...rows, ...places, ...cache }))
      }
      yield {
        ...{ op: this.op, shape: `${N} heads, ${G} key heads of ${D}`, tokens: T, record },
        ...{ bytes, flops: 0 },
      }
      bench.release()
    }
  },
}

export const sampling: KernelBench = {
  op: 'sample',

  async check({ vocab: V }, bench) {
    const logits = randomArray([2, V], 'f32', 1)
    const { ids } = await kernels.sample(
      { logits, vocabulary: V, ...drawing(2, {}) },
      { device: bench.name },
    )
    for (const t of [0, 1]) {
      let best = 0
      for (let v = 0; v < V; v++) if (at(logits, t * V + v) > at(logits, t * V + best)) best = v
      if (ids.data[t] !== best) return `row ${t}: ${ids.data[t]}, want ${best}`
    }
    return undefined
  },

  async *make({ shape: { vocab: V }, tokens }, bench) {
    for (const S of tokens.filter((t) => t <= 64)) {
      const of = ({ data, shape }: { data: Int32Array | Float32Array; shape: number[] }) =>
        bench.numbers(data, shape)
      const bytes = S * V * 4
      const rows = await bench.rotating(bytes, () => bench.random([S, V], 'f32'))
      // The simulated GPU takes seconds for a draw.
      const ways = Object.entries(draws).slice(bench.small ? -2 : 0)
      for (const [name, values] of ways) {
        const { options, counts, history, historyOffsets } = drawing(S, values)
        const inputs = {
          ...{ options: of(options), counts: of(counts), vocabulary: V },
          ...{
            draws: 'temperature' in values,
            history: of(history),
            historyOffsets: of(historyOffsets),
          },
        }
        yield {
          ...{ op: this.op, shape: `[S, ${V}] ${name}`, tokens: S, bytes, flops: 0 },
          record: rows.map((logits) => (plan) => ops.sample(plan, { logits, ...inputs })),
        }
      }
      bench.release()
    }
  },
}

const draws: Record<string, Partial<Record<ops.SampleOption | ops.SampleCount, number>>> = {
  temperature: { temperature: 1 },
  'top-p 0.9': { temperature: 1, topP: 0.9 },
  greedy: {},
  'top-k 40, top-p 0.9': { temperature: 1, topP: 0.9, topK: 40 },
}

/** Inputs of `sample` for S rows that are all drawn in this way. */
function drawing(S: number, values: (typeof draws)[string]) {
  const given = { topP: 1, repetition: 1, ...values }
  const options = ops.sampleOptionNames.map((name) => given[name] ?? 0)
  return {
    options: {
      data: Float32Array.from(
        { length: S * options.length },
        (_, i) => options[i % options.length]!,
      ),
      shape: [S, options.length],
    },
    counts: {
      data: Int32Array.from(
        { length: S * ops.sampleCountNames.length },
        (_, i) => given[ops.sampleCountNames[i % ops.sampleCountNames.length]!] ?? 0,
      ),
      shape: [S, ops.sampleCountNames.length],
    },
    history: { data: new Int32Array(1), shape: [1] },
    historyOffsets: { data: new Int32Array(S + 1), shape: [S + 1] },
  }
}
