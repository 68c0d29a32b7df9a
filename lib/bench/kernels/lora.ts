import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, dot, firstDifference, randomArray } from '../check.ts'
import type { ModelShape } from '../shapes.ts'
import type { Bench, KernelBench } from '../workbench.ts'

/** The usual rank of published adapters, and texts of so many of them. */
const [rank, adapters] = [16, 4]

/** q, k and v of one adapter beside their projection: outputs of each. */
const outputs = ({ heads: N, keyValueHeads: G, headSize: D }: ModelShape) => [N * D, G * D, G * D]
const columnsOf = (sizes: number[]) =>
  sizes.map((_, p) => sizes.slice(0, p).reduce((a, b) => a + b, 0))

export const lora: KernelBench = {
  op: 'lora',

  async check(shape, bench) {
    const { hidden: K } = shape
    const sizes = outputs(shape)
    const width = sizes.reduce((a, b) => a + b)
    const pairs = sizes.map((N, p) => randomArray([rank, K + N], 'f32', p + 1, 1 / Math.sqrt(K)))
    const x = randomArray([3, K], bench.dtype, 9)
    const ids = { data: new Int32Array(3), shape: [3, 1] }
    const columns = columnsOf(sizes)
    const { out } = await kernels.lora({ x, ids, pairs, columns, width }, { device: bench.name })
    return firstDifference(bench, out, K + rank, (t, n) => {
      const p = columns.findLastIndex((column) => n >= column)
      const pair = (j: number, i: number) => at(pairs[p]!, j * (K + sizes[p]!) + i)
      let [value, magnitude] = [0, 0]
      for (let j = 0; j < rank; j++) {
        const [product, size] = dot(
          K,
          (k) => at(x, t * K + k),
          (k) => pair(j, k),
        )
        value += product * pair(j, K + n - columns[p]!)
        magnitude += size * Math.abs(pair(j, K + n - columns[p]!))
      }
      return [value, magnitude]
    })
  },

  async *make({ shape, tokens }, bench) {
    const { hidden: K } = shape
    const sizes = outputs(shape)
    const width = sizes.reduce((a, b) => a + b)
    const columns = columnsOf(sizes)
    for (const T of tokens) {
      const used = Math.min(T, adapters)
      const one = 4 * rank * (sizes.length * K + width)
      const bytes = used * one + T * (K * bench.elementBytes + 4 * width)
      const record: Bench['record'] = []
      for (let s = 0; s < bench.sets(bytes); s++) {
        const all = Array.from({ length: used }, () => sizes)
        const pairs = await Promise.all(all.flat().map((N) => bench.random([rank, K + N], 'f32')))
        const x = await bench.random([T, K])
        const texts = Int32Array.from({ length: T }, (_, t) => Math.floor((t * used) / T))
        const ids = bench.numbers(texts, [T, 1])
        record.push((plan) => ops.lora(plan, { x, ids, pairs, columns, width }))
      }
      const flops = 2 * T * rank * (sizes.length * K + width)
      yield {
        op: this.op,
        shape: `${used} x r ${rank}, q k v [${width}, ${K}]`,
        tokens: T,
        bytes,
        flops,
        record,
      }
      bench.release()
    }
  },
}
