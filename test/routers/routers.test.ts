import { native, type Tensor, type Weight, type WeightFormat } from '../../lib/native.ts'
import type { ExpertKind } from '../../lib/ops/index.ts'
import { AttentionRouter } from '../../lib/routers/attention_router.ts'
import { ResidualRouter } from '../../lib/routers/residual_router.ts'
import type { Router } from '../../lib/routers/router.ts'
import { SoftmaxTopK } from '../../lib/routers/softmax_top_k.ts'
import { type Rows, WeightList, type Weights } from '../../lib/weights/weights.ts'
import { Random } from '../cases/case.ts'
import { routerContract } from './contract.ts'

/** Random or zero weights, whatever is asked for. */
class MadeWeights extends WeightList {
  readonly #random = new Random(42)
  readonly #zero: boolean
  readonly #pending: Promise<void>[] = []

  constructor(zero: boolean) {
    super()
    this.#zero = zero
  }

  ignore(): void {}
  table(): Tensor {
    throw new Error('routers have no tables')
  }
  ready(): Promise<unknown> {
    return Promise.all(this.#pending)
  }
  /** Random, so that a bias that is not used would show. */
  protected loadVectors(_: Rows[], out: Tensor): void {
    this.#pending.push(native().fillRandom(out, 0, this.#zero ? 0 : 1, 7))
  }
  protected loadMatrix(rows: Rows[], out: Weight): void {
    const [N, K] = out.shape as [number, number]
    const scale = this.#zero ? 0 : 1 / Math.sqrt(K)
    const data = Float32Array.from({ length: N * K }, () => scale * this.#random.normal())
    this.#pending.push(
      native().pack(out, [
        [native().tensorFrom(data, [N, K], 'f32'), 0, rows.reduce((n, r) => n + r.count, 0)],
      ]),
    )
  }
  protected matrixFormat(): WeightFormat {
    return 'f32'
  }
  protected later(): void {}
}

async function make(zero: boolean, build: (weights: Weights) => Router): Promise<Router> {
  const weights = new MadeWeights(zero)
  const router = build(weights)
  await weights.ready()
  return router
}

const kinds = Array<ExpertKind>(12).fill('ffn')
const shape = { kinds, hidden: 24 }
const size = { experts: 12, hidden: 24 }

for (const topK of [1, 2, 3])
  routerContract({
    name: `softmax top-${topK}`,
    ...{ ...size, topK, normalized: true, carries: false },
    make: (zero) => make(zero, (w) => new SoftmaxTopK(w, 'gate', { ...shape, topK })),
  })

for (const renormalize of [true, false])
  routerContract({
    name: `attention router, ${renormalize ? 'renormalised' : 'plain softmax'}`,
    ...{ ...size, topK: 2, normalized: renormalize, carries: false },
    make: (zero) =>
      make(zero, (w) => new AttentionRouter(w, 'gate', { ...shape, topK: 2, renormalize })),
  })

for (const twoLayers of [false, true])
  for (const normStd of [0, 1.7])
    for (const givesShare of [undefined, Array.from({ length: 12 }, (_, e) => e === 11)])
      routerContract({
        name: `residual router, ${twoLayers ? 'two layers' : 'one layer'}, norm ${normStd}, ${givesShare ? 'standard' : 'mixtral'} gating`,
        ...{ ...size, topK: 2, normalized: true, carries: true },
        make: (zero) =>
          make(
            zero,
            (w) =>
              new ResidualRouter(w, 'gate', { ...shape, topK: 2, twoLayers, normStd, givesShare }),
          ),
      })
