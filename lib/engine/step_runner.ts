import type { AdapterSet } from '../adapters/adapter_set.ts'
import type { LowRank } from '../layers/projection.ts'
import type { LayerCache } from '../layers/step.ts'
import type { Architecture } from '../models/architecture.ts'
import {
  type ActivationDType,
  type Arena,
  type CancelToken,
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
  drawsOf,
  maxLogprobs,
  maxStepTokens,
  type ScheduledChunk,
  tokensOf,
} from './chunk.ts'
import { PlanCache } from './plan_cache.ts'
import { RoutingCounts, type RoutingStats } from './routing_stats.ts'
import {
  adjustedRows,
  biasedPlaces,
  hasAdapters,
  maskedRows,
  stepInputs,
  tableWidthOf,
} from './step_inputs.ts'
import { recordStep, type StepPlan, type StepShape } from './step_plan.ts'

const maxPlans = 64
/** Best tokens that plans report: few numbers, so that few plans serve all. */
const topWidths = [0, 5, maxLogprobs]

export interface StepRunnerOptions {
  dtype: ActivationDType
  threads: number
  numBlocks: number
  /** Ids at and beyond it are never sampled. */
  vocabulary: number
  gpu: Gpu | undefined
  /** On a GPU, one path for any number of rows. */
  deterministic: boolean
  adapters: AdapterSet
  /** Experts of low rank that the checkpoint has. */
  lowRank: LowRank | undefined
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
  /**
   * Steps of one token a text come again and again; others must not drive them out. Those of texts with adapters hold
   * all that are loaded.
   */
  readonly #plans = {
    decode: new PlanCache<StepPlan>(maxPlans),
    mixed: new PlanCache<StepPlan>(maxPlans),
    adapted: new PlanCache<StepPlan>(maxPlans),
  }
  readonly #counts: RoutingCounts
  #last: StepPlan | undefined
  /** Of the adapters in plans. */
  #generation = 0

  constructor(model: Architecture, options: StepRunnerOptions) {
    this.#model = model
    this.#options = options
    const { gpu, numBlocks, dtype } = options
    this.maxTokens = gpu ? maxStepTokens.gpu : maxStepTokens.cpu
    this.#arena = new (native().Arena)(gpu)
    try {
      this.#caches = allocateCaches(model.layers, numBlocks, (shape) => {
        const tensor = native().tensor(shape, dtype, gpu)
        this.#tensors.push(tensor)
        return tensor
      })
      this.#counts = new RoutingCounts(model.layers, gpu)
      this.#tensors.push(this.#counts.tensor)
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
    const { adapters } = this.#options
    const adapted = hasAdapters(chunks)
    if (this.#generation !== adapters.generation) this.#plans.adapted.clear()
    this.#generation = adapters.generation
    const samples = chunks.flatMap(drawsOf)
    const shape: StepShape = {
      tokens: tokensOf(chunks),
      sequences: chunks.length,
      tableWidth: tableWidthOf(chunks, this.#options.numBlocks),
      sampled: samples.length,
      logitRows: chunks.reduce((n, { logitRows }) => n + logitRows, 0),
      adjusted: adjustedRows(chunks),
      masked: maskedRows(chunks),
      biased: biasedPlaces(chunks),
      adapters: adapted ? adapters.generation : 0,
      top: topWidths.find((width) => samples.every(({ top }) => top <= width))!,
      draws: samples.some(({ sampling }) => sampling.temperature !== 0),
      ...want,
    }
    const one = shape.tokens === shape.sequences
    const plans = adapted ? this.#plans.adapted : one ? this.#plans.decode : this.#plans.mixed
    const step = plans.get(JSON.stringify(shape), () => this.#record(shape))
    const before = this.#last
    this.#last = step
    const inputs: { [name: string]: NumberArray | Tensor } = stepInputs(
      chunks,
      visibility,
      shape.tableWidth,
      (adapter) => adapters.indexOf(adapter),
    )
    if (chunks[0]!.ahead) inputs.ids = before!.sampledIds!
    const results = await step.plan.run(inputs, this.#options.threads, cancel)
    return step.read(results, chunks)
  }

  /** Runs the last step's plan again and times its ops. */
  time(iterations: number): Promise<PlanTime> {
    return this.#last!.plan.time(iterations, this.#options.threads)
  }

  /** How often experts were chosen in all steps asked for so far. */
  async routingStats(reset: boolean): Promise<RoutingStats> {
    const plan = new (native().Plan)(this.#arena)
    plan.output('counts', this.#counts.tensor)
    const { counts } = await plan.run({}, this.#options.threads)
    return this.#counts.read(counts as Int32Array, reset)
  }

  /** Frees the cache and everything recorded. */
  dispose(): void {
    this.#plans.decode.clear()
    this.#plans.mixed.clear()
    this.#plans.adapted.clear()
    this.#last = undefined
    this.#arena.release()
    for (const tensor of this.#tensors) tensor.release()
  }

  #record(shape: StepShape): StepPlan {
    const { deterministic, numBlocks, dtype, vocabulary, adapters } = this.#options
    const plan = new (native().Plan)(this.#arena, { deterministic })
    const capacity = numBlocks * blockTokens
    const counts = this.#counts.ofLayers()
    const lowRank = (adapterOf: Tensor | undefined) =>
      adapterOf ? adapters.lowRank(adapterOf) : this.#options.lowRank
    const of = { caches: this.#caches, counts, capacity, dtype, vocabulary, lowRank }
    return recordStep(plan, this.#model, shape, of)
  }
}
