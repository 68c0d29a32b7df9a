import type { LayerCache } from '../layers/step.ts'
import type { Architecture } from '../models/architecture.ts'
import {
  type ActivationDType,
  type Arena,
  type CancelToken,
  type DType,
  type Gpu,
  type NumberArray,
  native,
  type PlanTime,
  type Tensor,
} from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import { allocateCaches } from './cache.ts'
import {
  type ChunkResult,
  maxSequences,
  maxStepTokens,
  type ScheduledChunk,
  tokensOf,
} from './chunk.ts'
import { PlanCache } from './plan_cache.ts'
import { InputLayout, type InputShape, stepInputs, tableWidthOf } from './step_inputs.ts'
import { recordStep, type StepPlan, type StepShape } from './step_plan.ts'

const maxPlans = 64

export interface StepRunnerOptions {
  dtype: ActivationDType
  threads: number
  numBlocks: number
  /** Ids at and beyond it are never sampled. */
  vocabulary: number
  gpu: Gpu | undefined
  /** On a GPU, one path for any number of rows. */
  deterministic: boolean
}

/**
 * Runs steps of one model: keeps the cache and the recorded plans, turns chunks into the inputs of a plan and
 * its outputs into results.
 */
export class StepRunner {
  /** Most tokens of one step. */
  readonly maxTokens: number
  readonly #model: Architecture
  readonly #options: StepRunnerOptions
  readonly #arena: Arena
  /** Everything allocated here. */
  readonly #tensors: Tensor[] = []
  readonly #caches: LayerCache[]
  readonly #inputs: Tensor
  readonly #plans = new PlanCache<StepPlan>(maxPlans)
  #last: StepPlan | undefined

  constructor(model: Architecture, options: StepRunnerOptions) {
    this.#model = model
    this.#options = options
    const { gpu, numBlocks, dtype } = options
    this.maxTokens = gpu ? maxStepTokens.gpu : maxStepTokens.cpu
    this.#arena = new (native().Arena)(gpu)
    const tensor = (shape: number[], dtype: DType): Tensor => {
      const made = native().tensor(shape, dtype, 'rows', gpu)
      this.#tensors.push(made)
      return made
    }
    try {
      this.#caches = allocateCaches(model.layers, numBlocks, (shape) => tensor(shape, dtype))
      const most = this.#layout({
        tokens: this.maxTokens,
        sequences: maxSequences,
        tableWidth: numBlocks,
        sampled: maxSequences,
        logitRows: this.maxTokens,
      })
      this.#inputs = tensor([most.length], 'i32')
    } catch (error) {
      this.dispose() // out of memory leaves nothing behind
      throw error
    }
  }

  /**
   * Runs one step; `want` is for all chunks, since it is a property of the recorded plan. Steps run in the order
   * of these calls, so one may be asked for before the one before has ended: chunks that are `ahead` then get
   * their tokens from what that one samples, and must be its chunks in the same order.
   */
  async run(
    chunks: ScheduledChunk[],
    want: { hiddenStates: boolean; routing: boolean },
    cancel: CancelToken,
  ): Promise<ChunkResult[]> {
    const { visibility } = this.#model
    const samples = chunks.flatMap(({ sample }) => sample ?? [])
    const shape: StepShape = {
      tokens: tokensOf(chunks),
      sequences: chunks.length,
      tableWidth: tableWidthOf(chunks, this.#options.numBlocks),
      sampled: samples.length,
      logitRows: chunks.reduce((n, { logitRows }) => n + logitRows, 0),
      top: Math.max(0, ...samples.map(({ top }) => top)),
      ...want,
    }
    const step = this.#plans.get(JSON.stringify(shape), () => this.#record(shape))
    const before = this.#last
    this.#last = step
    const numbers = step.inputs.pack(stepInputs(chunks, visibility, shape.tableWidth))
    const inputs: [Tensor, NumberArray | Tensor][] = [[this.#inputs, numbers]]
    if (chunks[0]!.ahead) inputs.push([step.ids, before!.outputs.sampledIds!])
    const outputs = Object.values(step.outputs)
    const arrays = await step.plan.run(inputs, outputs, this.#options.threads, cancel)
    const names = Object.keys(step.outputs)
    return step.read(Object.fromEntries(names.map((name, i) => [name, arrays[i]!])), chunks)
  }

  /** Runs the last step's plan again and times its ops. */
  time(iterations: number): Promise<PlanTime> {
    return this.#last!.plan.time(iterations, this.#options.threads)
  }

  /** Frees the cache and everything recorded. */
  dispose(): void {
    this.#plans.clear()
    this.#last = undefined
    this.#arena.release()
    for (const tensor of this.#tensors) tensor.release()
  }

  #layout(shape: InputShape): InputLayout {
    return new InputLayout(shape, this.#model.visibility, this.#options.numBlocks * blockTokens)
  }

  #record(shape: StepShape): StepPlan {
    return recordStep(this.#model, new (native().Plan)(this.#arena), shape, {
      layout: this.#layout(shape),
      inputs: this.#inputs,
      caches: this.#caches,
      dtype: this.#options.dtype,
      vocabulary: this.#options.vocabulary,
    })
  }
}
