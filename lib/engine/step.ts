import type { Architecture, LayerCache, Step, Trace } from '../models/architecture.ts'
import type { ModelConfig } from '../models/config.ts'
import {
  type ActivationDType,
  type Arena,
  type CancelToken,
  type DType,
  type Gpu,
  type NumberArray,
  native,
  type Plan,
  type PlanTime,
  type Tensor,
} from '../native.ts'
import * as ops from '../ops/index.ts'
import { maxStepTokens, type Slice, type SliceResult, tokensOf } from './slice.ts'
import { declareInputs, type InputShape, stepInputs } from './step_inputs.ts'
import {
  type Reader,
  readDrawn,
  readHiddenStates,
  readLogits,
  readRouting,
} from './step_results.ts'

interface Recorded {
  plan: Plan
  /** [drawing sequences] i32 */
  drawn: Tensor | undefined
  readers: Reader[]
}

interface StepShape extends InputShape {
  top: number
  hiddenStates: boolean
  routing: boolean
}

const maxRecorded = 64

/**
 * Runs steps of one model: keeps the cache and the recorded plans, turns slices into the inputs of a plan and
 * its outputs into results.
 */
export class StepRunner {
  /** Most tokens of one step. */
  readonly maxTokens: number
  readonly #model: Architecture
  readonly #dtype: ActivationDType
  readonly #threads: number
  readonly #vocabulary: number
  readonly #numBlocks: number
  readonly #arena: Arena
  /** Everything allocated here. */
  readonly #tensors: Tensor[] = []
  readonly #cache: LayerCache[]
  readonly #recorded = new Map<string, Recorded>()
  #last: Recorded | undefined

  /** @param vocabulary ids at and beyond it are never drawn */
  constructor(
    model: Architecture,
    options: {
      dtype: ActivationDType
      threads: number
      numBlocks: number
      vocabulary: number
      gpu: Gpu | undefined
    },
  ) {
    this.#model = model
    this.#dtype = options.dtype
    this.#threads = options.threads
    this.#vocabulary = options.vocabulary
    this.#numBlocks = options.numBlocks
    const { gpu, numBlocks } = options
    this.maxTokens = gpu ? maxStepTokens.gpu : maxStepTokens.cpu
    this.#arena = new (native().Arena)(gpu)
    const tensor = (dtype: DType, ...shape: number[]): Tensor => {
      const made = native().tensor(shape, dtype, gpu)
      this.#tensors.push(made)
      return made
    }
    const { numLayers, numKeyValueHeads: G, headSize: D, stateWidths } = model.config
    try {
      this.#cache = Array.from({ length: numLayers }, () => ({
        keys: tensor(options.dtype, numBlocks, G, D, ops.blockTokens),
        values: tensor(options.dtype, numBlocks, G, ops.blockTokens, D),
        states: stateWidths.map((width) => tensor(options.dtype, numBlocks, width)),
      }))
    } catch (error) {
      this.dispose() // out of memory leaves nothing behind
      throw error
    }
  }

  /**
   * Runs one step; `want` is for all slices, since it is a property of the recorded plan. Steps run in the order
   * of these calls, so one may be asked for before the one before has ended: slices that are `ahead` then get
   * their tokens from what that one draws, and must be its slices in the same order.
   */
  async run(
    slices: Slice[],
    want: { hiddenStates: boolean; routing: boolean },
    cancel: CancelToken,
  ): Promise<SliceResult[]> {
    const drawing = slices.filter((slice) => slice.draw)
    const shape: StepShape = {
      tokens: tokensOf(slices),
      sequences: slices.length,
      drawn: drawing.length,
      logitRows: slices.reduce((n, slice) => n + slice.logitRows, 0),
      top: Math.max(0, ...drawing.map((slice) => slice.draw!.top)),
      ...want,
    }
    const recorded = this.#record(shape)
    const before = this.#last
    this.#last = recorded
    const inputs: { [name: string]: NumberArray | Tensor } = stepInputs(slices, this.#numBlocks)
    if (slices[0]!.ahead) inputs.ids = before!.drawn!
    const results = await recorded.plan.run(inputs, this.#threads, cancel)
    const out: SliceResult[] = slices.map(() => ({}))
    for (const read of recorded.readers) read(results, slices, out)
    return out
  }

  /** Runs the last step's plan again and times its ops. */
  time(iterations: number): Promise<PlanTime> {
    return this.#last!.plan.time(iterations, this.#threads)
  }

  /** Frees the cache and everything recorded. */
  dispose(): void {
    this.#recorded.clear()
    this.#last = undefined
    this.#arena.release()
    for (const tensor of this.#tensors) tensor.release()
  }

  #record(shape: StepShape): Recorded {
    const key = JSON.stringify(shape)
    const known = this.#recorded.get(key)
    if (known) {
      this.#recorded.delete(key) // to the end: the oldest goes first
      this.#recorded.set(key, known)
      return known
    }
    const recorded = this.#recordNew(shape)
    this.#recorded.set(key, recorded)
    if (this.#recorded.size > maxRecorded)
      this.#recorded.delete(this.#recorded.keys().next().value!)
    return recorded
  }

  #recordNew(shape: StepShape): Recorded {
    const plan = new (native().Plan)(this.#arena)
    const inputs = declareInputs(plan, shape, this.#numBlocks)
    const rows = shape.drawn + shape.logitRows
    const trace: Trace = { hiddenStates: [], routing: [] }
    const logitRows = rows > 0 ? inputs.logitRows : undefined
    const step: Step = { plan, dtype: this.#dtype, cache: this.#cache, trace, ...inputs, logitRows }
    const logits = this.#model.forward(step)

    const readers: Reader[] = []
    let drawn: Tensor | undefined
    if (logits && shape.drawn > 0) {
      const { options, counts, history, historyOffsets } = inputs
      const asked = { options, counts, history, historyOffsets, top: shape.top }
      const sampled = ops.sample(plan, { logits, ...asked, vocabulary: this.#vocabulary })
      for (const [name, tensor] of Object.entries(sampled)) plan.output(name, tensor)
      drawn = sampled.ids
      readers.push(readDrawn(shape.top))
    }
    if (logits && shape.logitRows > 0) {
      plan.output('logits', logits)
      readers.push(readLogits(shape.drawn, this.#model.config.vocabSize))
    }
    if (shape.hiddenStates) {
      for (const [l, x] of trace.hiddenStates.entries()) plan.output(`hidden.${l}`, x)
      readers.push(readHiddenStates(trace.hiddenStates.length))
    }
    if (shape.routing) {
      for (const [l, routing] of trace.routing.entries()) {
        plan.output(`expertIds.${l}`, routing.ids)
        plan.output(`expertWeights.${l}`, routing.weights)
        plan.output(`routerLogits.${l}`, routing.logits)
      }
      readers.push(readRouting(trace.routing.length))
    }
    return { plan, drawn, readers }
  }
}

/** Bytes of the cache of one block. */
export function blockBytes(config: ModelConfig, dtype: ActivationDType): number {
  const { numLayers, numKeyValueHeads: G, headSize: D } = config
  const states = config.stateWidths.reduce((n, width) => n + width, 0)
  return numLayers * (2 * G * D * ops.blockTokens + states) * (dtype === 'bf16' ? 2 : 4)
}
