import { type ActivationDType, type Gpu, native, type Tensor, type Weight } from '../native.ts'
import type { WeightsChoice } from './formats.ts'
import { count, type Rows, type Share, WeightList } from './weights.ts'

/**
 * Random weights of any architecture, for benchmarks of full-size models where no checkpoint is at hand. Norms
 * are 1, biases 0, matrices scaled to keep their input's size; what adds to the residual stream is scaled down, so
 * that routing stays spread.
 */
export class RandomWeights extends WeightList {
  readonly #format: ActivationDType
  readonly #tasks: (() => Promise<void>)[] = []
  #seed: number

  constructor(weights: Exclude<WeightsChoice, 'auto'>, seed: number, gpu?: Gpu) {
    super(gpu, weights)
    this.#format = weights === 'f32' ? 'f32' : 'bf16'
    this.#seed = seed
  }

  ignore(): void {}

  table(_: string, shape: number[], share: Share = 'embedding'): Tensor {
    this.parameters[share] += count(shape)
    const out = this.rows(shape, this.#format, 'embedding')
    this.#fill(out, 0, 1)
    return out
  }

  protected loadVectors([first]: Rows[], out: Tensor, scale: number): void {
    const { name } = first!
    const bias = /bias/.test(name)
    const one = !bias && /norm|\/scale$/.test(name)
    this.#fill(out, one ? scale : 0, one || bias ? 0 : scale)
  }

  protected loadMatrix(rows: Rows[], out: Weight): void {
    const intoResidual =
      /\.(o|o_proj|dense|wo|w2|down_proj|output_linear)(\.weight)?$|\.weight_down\.\d+$|\/(out|Dense_1)\/kernel$/.test(
        rows[0]!.name,
      )
    this.#fill(out, 0, (intoResidual ? 0.2 : 1) / Math.sqrt(out.shape[1]!))
  }

  protected matrixFormat(): ActivationDType {
    return this.#format
  }

  protected later(work: () => Promise<void>): void {
    this.#tasks.push(work)
  }

  #fill(out: Tensor | Weight, mean: number, deviation: number): void {
    const seed = this.#seed++
    this.#tasks.push(() => native().fillRandom(out, mean, deviation, seed * 2 ** 32))
  }

  /** Fills every handle. */
  async load(signal?: AbortSignal): Promise<void> {
    for (const task of this.#tasks.splice(0)) {
      signal?.throwIfAborted()
      await task()
    }
  }
}
