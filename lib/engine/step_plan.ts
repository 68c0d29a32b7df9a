import type { LayerCache, Step, Trace } from '../layers/step.ts'
import type { Architecture } from '../models/architecture.ts'
import type { ActivationDType, Plan, Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { ChunkResult, ScheduledChunk } from './chunk.ts'
import type { InputLayout, InputShape } from './step_inputs.ts'
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
  hiddenStates: boolean
  routing: boolean
}

/** A step recorded for one shape. */
export interface StepPlan {
  plan: Plan
  inputs: InputLayout
  ids: Tensor
  outputs: Record<string, Tensor>
  read(results: Results, chunks: ScheduledChunk[]): ChunkResult[]
}

/** Records the model's forward pass and what is wanted of it. */
export function recordStep(
  model: Architecture,
  plan: Plan,
  shape: StepShape,
  memory: {
    layout: InputLayout
    inputs: Tensor
    caches: LayerCache[]
    dtype: ActivationDType
    /** Ids at and beyond it are never sampled. */
    vocabulary: number
  },
): StepPlan {
  const inputs = memory.layout.views(memory.inputs)
  const { caches, dtype } = memory
  const trace: Trace = { hiddenStates: [], routing: [] }
  const logitRows = shape.sampled + shape.logitRows > 0 ? inputs.logitRows : undefined
  const step: Step = { plan, dtype, caches, trace, ...inputs, logitRows }
  const logits = model.forward(step)

  const outputs: Record<string, Tensor> = {}
  const readers: Reader[] = []
  if (logits && shape.sampled > 0) {
    const { ids, ...rest } = ops.sample(plan, logits, inputs, memory.vocabulary, shape.top)
    Object.assign(outputs, { sampledIds: ids, ...rest })
    readers.push(readSampled(shape.top))
  }
  if (logits && shape.logitRows > 0) {
    outputs.logits = logits
    readers.push(readLogits(shape.sampled, model.config.vocabSize))
  }
  if (shape.hiddenStates) {
    for (const [l, hidden] of trace.hiddenStates.entries()) outputs[`hidden ${l}`] = hidden
    readers.push(readHiddenStates(trace.hiddenStates.length))
  }
  if (shape.routing) {
    for (const [l, routing] of trace.routing.entries()) {
      if (!routing) continue
      outputs[`expertIds ${l}`] = routing.ids
      outputs[`weights ${l}`] = routing.weights
      outputs[`logits ${l}`] = routing.logits
    }
    readers.push(readRouting(trace.routing.length))
  }
  return {
    plan,
    inputs: memory.layout,
    ids: inputs.ids,
    outputs,
    read(results, chunks) {
      const out: ChunkResult[] = chunks.map(() => ({}))
      for (const read of readers) read(results, chunks, out)
      return out
    },
  }
}
