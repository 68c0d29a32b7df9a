import type { Plan, Tensor } from '../../native.ts'
import * as ops from '../../ops/index.ts'
import { kernels } from '../../standalone/kernels.ts'
import { at, dot, firstDifference, randomArray } from '../check.ts'
import type { ModelShape } from '../shapes.ts'
import type { KernelBench, Workbench } from '../workbench.ts'

// Soft MoE's ops (arXiv:2308.00951) for one text or image: as many slots as tokens, at least one an expert.

interface Sizes {
  T: number
  H: number
  E: number
  /** Slots of all experts. */
  S: number
}

function sizesOf({ hidden: H, kinds }: ModelShape, T: number): Sizes {
  const E = kinds.filter((kind) => kind === 'ffn').length
  return { T, H, E, S: E * Math.ceil(T / E) }
}

const whole = (T: number) => ({ data: Int32Array.of(0, T), shape: [2] })

/** What all four have in common: inputs of one call, what it reads and writes, what it multiplies. */
function softBench(
  op: string,
  check: (sizes: Sizes, bench: Workbench) => Promise<string | undefined>,
  use: (sizes: Sizes, elementBytes: number) => { bytes: number; flops: number },
  make: (sizes: Sizes, bench: Workbench, segments: Tensor) => Promise<(plan: Plan) => unknown>,
): KernelBench {
  return {
    op,
    check: (shape, bench) => check(sizesOf(shape, 9), bench),
    async *make({ shape, tokens }, bench) {
      for (const T of tokens) {
        const sizes = sizesOf(shape, T)
        const { bytes, flops } = use(sizes, bench.elementBytes)
        const segments = bench.numbers(whole(T).data, [2])
        const record = await bench.rotating(bytes, () => make(sizes, bench, segments))
        const words = `${sizes.S} slots of ${sizes.E} experts, H ${sizes.H}`
        yield { op, shape: words, tokens: T, bytes, flops, record }
        bench.release()
      }
    },
  }
}

export const softLogits = softBench(
  'softLogits',
  async ({ T, H, S }, bench) => {
    const [x, slots] = [randomArray([T, H], bench.dtype, 1), randomArray([H, S], 'f32', 2)]
    const scale = { data: Float32Array.of(2), shape: [1] }
    const { logits } = await kernels.softLogits({ x, slots, scale }, { device: bench.name })
    return firstDifference(bench, logits, 2 * H, (t, s) => {
      const own = (h: number) => at(x, t * H + h)
      const slot = (h: number) => at(slots, h * S + s)
      const length = (of: typeof own) => Math.sqrt(dot(H, of, of)[0] + 1e-6)
      const factor = 2 / (length(own) * length(slot))
      const [value, magnitude] = dot(H, own, slot)
      return [factor * value, factor * magnitude]
    })
  },
  ({ T, H, S }, size) => ({ bytes: T * H * size + 4 * (H * S + T * S), flops: 2 * T * S * H }),
  async ({ T, H, S }, bench) => {
    const [x, slots] = [await bench.random([T, H]), await bench.random([H, S], 'f32')]
    const scale = await bench.random([1], 'f32')
    return (plan) => ops.softLogits(plan, { x, slots, scale })
  },
)

export const softWeights = softBench(
  'softWeights',
  async ({ T, S }, bench) => {
    const logits = randomArray([T, S], 'f32', 1)
    const given = { logits, segments: whole(T) }
    const { dispatch, combine } = await kernels.softWeights(given, { device: bench.name })
    const exp = (t: number, s: number) => Math.exp(at(logits, t * S + s))
    const sum = (n: number, of: (i: number) => number) => dot(n, of, () => 1)[0]
    const share = (t: number, s: number, all: number): [number, number] => {
      const p = exp(t, s) / all
      return [p, p]
    }
    return (
      firstDifference(bench, dispatch, T, (t, s) =>
        share(
          t,
          s,
          sum(T, (i) => exp(i, s)),
        ),
      ) ??
      firstDifference(bench, combine, S, (t, s) =>
        share(
          t,
          s,
          sum(S, (i) => exp(t, i)),
        ),
      )
    )
  },
  ({ T, S }) => ({ bytes: 12 * T * S, flops: 0 }),
  async ({ T, S }, bench, segments) => {
    const logits = await bench.random([T, S], 'f32')
    return (plan) => ops.softWeights(plan, { logits, segments })
  },
)

export const softDispatch = softBench(
  'softDispatch',
  async ({ T, H, E, S }, bench) => {
    const [x, weights] = [randomArray([T, H], bench.dtype, 1), randomArray([T, S], 'f32', 2)]
    const given = { x, weights, segments: whole(T), experts: E }
    const { out } = await kernels.softDispatch(given, { device: bench.name })
    return firstDifference(bench, out, T, (s, h) =>
      dot(
        T,
        (t) => at(weights, t * S + s),
        (t) => at(x, t * H + h),
      ),
    )
  },
  ({ T, H, S }, size) => ({ bytes: (T + S) * H * size + 4 * T * S, flops: 2 * T * S * H }),
  async ({ T, H, E, S }, bench, segments) => {
    const [x, weights] = [await bench.random([T, H]), await bench.random([T, S], 'f32')]
    return (plan) => ops.softDispatch(plan, { x, weights, segments, experts: E })
  },
)

export const softCombine = softBench(
  'softCombine',
  async ({ T, H, E, S }, bench) => {
    const expertOut = randomArray([S, H], bench.dtype, 1)
    const [weights, residual] = [randomArray([T, S], 'f32', 2), randomArray([T, H], 'f32', 3)]
    const given = { expertOut, weights, residual, segments: whole(T), experts: E }
    const { out } = await kernels.softCombine(given, { device: bench.name })
    return firstDifference(bench, out, S + 1, (t, h) => {
      const [value, magnitude] = dot(
        S,
        (s) => at(weights, t * S + s),
        (s) => at(expertOut, s * H + h),
      )
      const own = at(residual, t * H + h)
      return [own + value, Math.abs(own) + magnitude]
    })
  },
  ({ T, H, S }, size) => ({
    bytes: S * H * size + 4 * (T * S + 2 * T * H),
    flops: 2 * T * S * H,
  }),
  async ({ T, H, E, S }, bench, segments) => {
    const expertOut = await bench.random([S, H])
    const weights = await bench.random([T, S], 'f32')
    const residual = await bench.random([T, H], 'f32')
    const given = { expertOut, weights, residual, segments, experts: E }
    return (plan) => ops.softCombine(plan, given)
  },
)
