import { native, type Tensor, type Weight, type WeightFormat } from '../../lib/native.ts'
import { type Rows, WeightList, type Weights } from '../../lib/weights/weights.ts'
import { Random } from '../cases/case.ts'

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

/** A router of random weights, or of zeros. */
export async function make<Router>(
  zero: boolean,
  build: (weights: Weights) => Router,
): Promise<Router> {
  const weights = new MadeWeights(zero)
  const router = build(weights)
  await weights.ready()
  return router
}
