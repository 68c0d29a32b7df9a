import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, dot, firstDifference, randomArray, silu } from '../check.ts'
import { chooseIds, type ModelShape, placeSlots } from '../shapes.ts'
import type { Bench, BenchRequest, KernelBench, Workbench } from '../workbench.ts'

/** The two matrices of an expert: outputs N (of the weight 2N rows for gate and up) by inputs K. */
const experts = ({ hidden, expertSize }: ModelShape) => [
  {
    name: 'gate_up',
    N: expertSize,
    rows: 2 * expertSize,
    K: hidden,
    activation: 'swiglu' as const,
  },
  { name: 'down', N: hidden, rows: hidden, K: expertSize, activation: 'none' as const },
]

/** Checks sampled outputs of a product with one weight [rows, K] for 3 and for 40 rows of x. */
async function checkProduct(
  bench: Workbench,
  { rows, K, activation }: { rows: number; K: number; activation: ops.Activation },
  run: (
    x: ReturnType<typeof randomArray>,
    weight: ReturnType<typeof randomArray>,
  ) => ReturnType<typeof kernels.linear>,
): Promise<string | undefined> {
  const weight = randomArray([rows, K], bench.dtype, 1, 1 / Math.sqrt(K))
  for (const T of [3, 40]) {
    const x = randomArray([T, K], bench.dtype, 2)
    const { out } = await run(x, weight)
    const row = (t: number, n: number) =>
      dot(
        K,
        (k) => at(x, t * K + k),
        (k) => at(weight, n * K + k),
      )
    const wrong = firstDifference(bench, out, K, (t, n) => {
      if (activation !== 'swiglu') return row(t, n)
      const [gate, gateSize] = row(t, n)
      const [up, upSize] = row(t, rows / 2 + n)
      return [silu(gate) * up, gateSize * Math.abs(up) + Math.abs(silu(gate)) * upSize]
    })
    if (wrong) return wrong
  }
  return undefined
}

export const groupedGemm: KernelBench = {
  op: 'groupedGemm',

  async check(shape, bench) {
    for (const { rows, K, activation } of experts(shape)) {
      const wrong = await checkProduct(bench, { rows, K, activation }, (x, weight) => {
        const offsets = { data: Int32Array.of(0, x.shape[0]!), shape: [2] }
        const { dtype } = bench
        return kernels.groupedGemm(
          { x, offsets, weights: [weight], activation, dtype },
          { device: bench.name },
        )
      })
      if (wrong) return wrong
    }
    return undefined
  },

  async *make({ shape, tokens, routings }: BenchRequest, bench) {
    const { kinds, topK } = shape
    const E = kinds.filter((kind) => kind === 'ffn').length
    for (const { name, N, rows, K, activation } of experts(shape)) {
      const weightBytes = rows * K * bench.elementBytes
      // One token touches few experts: other ones in each set of offsets. Many touch all: other weights.
      const makeSet = () =>
        Promise.all(
          Array.from({ length: E }, () => bench.weight([rows, K], activation === 'swiglu')),
        )
      const weightSets = await bench.rotating(E * weightBytes, makeSet, 3)
      for (const T of tokens)
        for (const routing of routings) {
          const x = await bench.random([T * topK, K])
          const first = placeSlots(chooseIds(routing, T, kinds, topK, 1), kinds)
          const record: Bench['record'] = []
          let [bytes, flops] = [0, 0]
          const sets = Math.max(weightSets.length, bench.sets(first.distinct * weightBytes, 0, 16))
          for (let s = 0; s < sets; s++) {
            const placed = placeSlots(chooseIds(routing, T, kinds, topK, s + 1), kinds)
            const offsets = bench.numbers(placed.offsets, [E + 1])
            const weights = weightSets[s % weightSets.length]!
            record.push((plan) =>
              ops.groupedGemm(plan, { x, offsets, weights, activation, dtype: bench.dtype }),
            )
            bytes += placed.distinct * weightBytes + placed.routed * (K + N) * bench.elementBytes
            flops += 2 * placed.routed * rows * K
          }
          const text = `[${E}, ${rows}, ${K}] ${name}`
          yield {
            op: this.op,
            shape: text,
            tokens: T,
            routing,
            bytes: bytes / sets,
            flops: flops / sets,
            record,
          }
        }
      bench.release()
    }
  },
}

export const linear: KernelBench = {
  op: 'linear',

  check: ({ hidden, heads, headSize }, bench) =>
    checkProduct(bench, { rows: heads * headSize, K: hidden, activation: 'none' }, (x, weight) =>
      kernels.linear({ x, weight, dtype: bench.dtype }, { device: bench.name }),
    ),

  async *make({ shape, tokens }, bench) {
    const { hidden: H, heads, keyValueHeads, headSize: D, vocab } = shape
    const sizes = [
      { name: 'qkv', N: (heads + 2 * keyValueHeads) * D, K: H },
      { name: 'out', N: H, K: heads * D },
      { name: 'lm_head', N: vocab, K: H },
    ]
    for (const { name, N, K } of sizes) {
      const weightBytes = N * K * bench.elementBytes
      const weights = await bench.rotating(weightBytes, () => bench.weight([N, K]))
      for (const T of name === 'lm_head' ? tokens.filter((t) => t <= 64) : tokens) {
        const x = await bench.random([T, K])
        const dtype = name === 'qkv' ? bench.dtype : 'f32'
        yield {
          ...{ op: this.op, shape: `[${N}, ${K}] ${name}`, tokens: T },
          bytes: weightBytes + T * (K * bench.elementBytes + N * (dtype === 'f32' ? 4 : 2)),
          flops: 2 * T * N * K,
          record: weights.map((weight) => (plan) => ops.linear(plan, { x, weight, dtype })),
        }
      }
      bench.release()
    }
  },
}
