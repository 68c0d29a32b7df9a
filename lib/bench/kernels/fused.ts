import type { Plan, Tensor } from '../../native.ts'
import * as ops from '../../ops/index.ts'
import { OneOp } from '../../standalone/one_op.ts'
import { at, dot, firstDifference, normedRow, randomArray } from '../check.ts'
import type { ModelShape } from '../shapes.ts'
import type { KernelBench, Workbench } from '../workbench.ts'
import { choice } from './routing.ts'

// Chains of ops that a GPU runs in one launch for few tokens. They are checked as one plan, as they are timed.

const eps = 1e-6

/** Inputs of a chain: x [T, H] f32, the norm's weight [H] f32, the projection's [N, H]. */
interface Chain {
  x: Tensor
  norm: Tensor
  weight: ops.LinearInputs['weight']
}

/** A norm and the projection that reads it. */
function normAndLinear(plan: Plan, { x, norm, weight }: Chain, bench: Workbench) {
  const { dtype } = bench
  const normed = ops.rmsNorm(plan, { x, weight: norm, eps, dtype }).out // [T, H]
  return ops.linear(plan, { x: normed, weight, dtype }) //                 [T, N]
}

/** A norm, the router's projection and its choice. */
function normAndRoute(
  plan: Plan,
  { x, norm, weight }: Chain,
  shape: ModelShape,
  { dtype }: Workbench,
) {
  const normed = ops.rmsNorm(plan, { x, weight: norm, eps, dtype }).out //              [T, H]
  const projected = ops.linear(plan, { x: normed, weight }).out //                      [T, E] or [T, 3E]
  const { logits } =
    shape.router === 'attention'
      ? ops.attentionRouter(plan, { qkv: projected }) //                                [T, E]
      : { logits: projected }
  return { logits, ...ops.topK(plan, { logits, ...choice(shape) }) }
}

/** Compares sampled products of a chain with a weight [N, H] for T tokens. */
async function checkChain(
  where: string,
  { T, N, H }: { T: number; N: number; H: number },
  bench: Workbench,
  record: (plan: Plan, inputs: Chain) => Tensor,
): Promise<string | undefined> {
  const x = randomArray([T, H], 'f32', 1)
  const norm = randomArray([H], 'f32', 2)
  const weight = randomArray([N, H], bench.dtype, 3, 1 / Math.sqrt(H))
  const op = new OneOp(where, { device: bench.name })
  const inputs = {
    ...{ x: op.input('x', x), norm: op.input('norm', norm) },
    weight: await op.weight('weight', weight),
  }
  op.output({ out: record(op.plan, inputs) })
  const { out } = await op.run()
  return firstDifference(bench, out!, 2 * H, (t, n) =>
    dot(H, normedRow(x, norm, eps, t), (h) => at(weight, n * H + h)),
  )
}

export const normLinear: KernelBench = {
  op: 'normLinear',

  async check({ hidden: H }, bench) {
    for (const T of [3, 40]) {
      const wrong = await checkChain(
        this.op,
        { T, N: H, H },
        bench,
        (plan, inputs) => normAndLinear(plan, inputs, bench).out,
      )
      if (wrong) return wrong
    }
    return undefined
  },

  async *make({ shape, tokens }, bench) {
    const { hidden: H, heads, keyValueHeads, headSize: D } = shape
    const N = (heads + 2 * keyValueHeads) * D
    const weightBytes = N * H * bench.elementBytes
    const weights = await bench.rotating(weightBytes, () => bench.weight([N, H]))
    const norm = await bench.random([H], 'f32')
    for (const T of tokens) {
      const x = await bench.random([T, H], 'f32')
      yield {
        ...{ op: this.op, shape: `[${N}, ${H}] qkv`, tokens: T },
        bytes: weightBytes + T * (H * (4 + bench.elementBytes) + N * bench.elementBytes),
        flops: 2 * T * N * H,
        record: weights.map((weight) => (plan) => normAndLinear(plan, { x, norm, weight }, bench)),
      }
    }
    bench.release()
  },
}

export const route: KernelBench = {
  op: 'route',

  async check(shape, bench) {
    if (shape.router === 'attention') return undefined // its logits are checked in the tests
    const size = { T: 5, N: shape.kinds.length, H: shape.hidden }
    return checkChain(
      this.op,
      size,
      bench,
      (plan, inputs) => normAndRoute(plan, inputs, shape, bench).logits,
    )
  },

  async *make({ shape, tokens }, bench) {
    const { hidden: H, kinds, router } = shape
    const E = kinds.length
    const P = router === 'attention' ? 3 * E : E
    const norm = await bench.random([H], 'f32')
    const weights = await bench.rotating(P * H * bench.elementBytes, () => bench.weight([P, H]))
    for (const T of tokens) {
      const x = await bench.random([T, H], 'f32')
      yield {
        ...{ op: this.op, shape: `[${P}, ${H}]`, tokens: T },
        bytes: P * H * bench.elementBytes + T * H * (4 + bench.elementBytes) + T * E * 4,
        flops: 2 * T * P * H,
        record: weights.map(
          (weight) => (plan) => normAndRoute(plan, { x, norm, weight }, shape, bench),
        ),
      }
    }
    bench.release()
  },
}
