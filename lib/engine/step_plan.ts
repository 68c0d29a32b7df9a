import type { LowRank } from '../layers/projection.ts'
import type { LayerCache, Trace } from '../layers/step.ts'
import type { Architecture } from '../models/architecture.ts'
import type { ActivationDType, Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { ChunkResult, ScheduledChunk } from './chunk.ts'
import { expertColumns } from './experts.ts'
import { declareInputs, type InputShape } from './step_inputs.ts'
import {
  type Reader,
  type Results,
  readHiddenStates,
  readLogits,
  readRouting,
  readSampled,
} from './step_results.ts'

/** What a plan is recorded for. */
export interface StepShape extends InputShape {
  /** Best tokens to report beside each sampled one. */
  top: number
  /** Some token is drawn; else all are the best ones. */
  draws: boolean
  hiddenStates: boolean
  routing: boolean
}

/** A step recorded for one shape. */
export interface StepPlan {
  plan: Plan
  /** [draws] i32 */
  sampledIds: Tensor | undefined
  read(results: Results, chunks: ScheduledChunk[]): ChunkResult[]
}

/** Records the model's forward pass and what is wanted of it. */
export function recordStep(
  plan: Plan,
  model: Architecture,
  shape: StepShape,
  of: {
    caches: LayerCache[]
    /** One a layer: where its choices are counted. */
    counts: readonly (Tensor | undefined)[]
    /** Tokens of the cache. */
    capacity: number
    dtype: ActivationDType
    /** Ids at and beyond it are never sampled. */
    vocabulary: number
    /** What is of low rank beside projections; the adapters' by those of each token [T, 1] i32. */
    lowRank(adapterOf: Tensor | undefined): LowRank | undefined
  },
): StepPlan {
  const experts = expertColumns(model.layers)
  const declared = declareInputs(
    plan,
    shape,
    model.visibility,
    experts.all,
    of.capacity,
    model.config.vocabSize,
  )
  const { options, counts, history, historyOffsets, adjust, adjustOf, adapterOf, ...more } =
    declared
  const { masks, maskRows, biasIds, biases, biasOffsets, ...inputs } = more
  const { caches, dtype, vocabulary } = of
  const trace: Trace = { hiddenStates: [], routing: [] }
  const logitRows = shape.sampled + shape.logitRows > 0 ? inputs.logitRows : undefined
  const choices = experts.of.map((columns, l) => {
    if (!columns) return undefined
    const own = adjust?.columns(columns.start, columns.count)
    return { counts: of.counts[l], adjust: own, adjustOf }
  })
  const lowRank = of.lowRank(adapterOf)
  const step = { plan, dtype, caches, trace, ...inputs, logitRows, choices, lowRank }
  const logits = model.forward(step)

  const readers: Reader[] = []
  let sampledIds: Tensor | undefined
  if (logits && shape.sampled > 0) {
    const asked = {
      options,
      counts,
      history,
      historyOffsets,
      vocabulary,
      top: shape.top,
      draws: shape.draws,
    }
    const choice = { masks, maskRows, biasIds, biases, biasOffsets }
    const sampled = ops.sample(plan, { logits, ...asked, ...choice })
    for (const [name, tensor] of Object.entries(sampled)) plan.output(name, tensor)
    sampledIds = sampled.ids
    readers.push(readSampled(shape.top))
  }
  if (logits && shape.logitRows > 0) {
    plan.output('logits', logits)
    readers.push(readLogits(shape.sampled, model.config.vocabSize))
  }
  if (shape.hiddenStates) {
    for (const [l, hidden] of trace.hiddenStates.entries()) plan.output(`hidden.${l}`, hidden)
    readers.push(readHiddenStates(trace.hiddenStates.length))
  }
  if (shape.routing) {
    for (const [l, routing] of trace.routing.entries()) {
      if (!routing) continue
      plan.output(`expertIds.${l}`, routing.ids)
      plan.output(`expertWeights.${l}`, routing.weights)
      plan.output(`routerLogits.${l}`, routing.logits)
    }
    readers.push(readRouting(trace.routing.length))
  }
  return {
    plan,
    sampledIds,
    read(results, chunks) {
      const out: ChunkResult[] = chunks.map(() => ({}))
      for (const read of readers) read(results, chunks, out)
      return out
    },
  }
}
