import { limitExperts } from './cache_size.ts'
import type { Device } from './device.ts'
import type { LoadRequest } from './load_options.ts'
import type { ActivationDType, Gpu } from './native.ts'
import { countParameters } from './parameters.ts'
import { readVisionConfig } from './vision/config.ts'
import { VisionModel } from './vision/vision_model.ts'
import { VisionTransformer } from './vision/vision_transformer.ts'
import { AbsentWeights } from './weights/absent_weights.ts'
import type { Checkpoint } from './weights/checkpoint.ts'
import { CheckpointWeights } from './weights/checkpoint_weights.ts'
import type { WeightsChoice } from './weights/formats.ts'
import type { Json } from './weights/json.ts'

/** A vision transformer's graph, likewise. */
export function buildVision(
  checkpoint: Checkpoint,
  dtype: ActivationDType,
  format: WeightsChoice,
  gpu?: Gpu,
): { graph: VisionTransformer; weights: CheckpointWeights } {
  const weights = new CheckpointWeights(checkpoint, dtype, gpu, format)
  const graph = new VisionTransformer(readVisionConfig(checkpoint.config), weights)
  weights.checkNames()
  return { graph, weights }
}

/** The same of its configuration alone. */
export function buildVisionWithoutWeights(json: Json) {
  const weights = new AbsentWeights('f32', 0)
  const graph = new VisionTransformer(readVisionConfig(json), weights)
  weights.release()
  return { graph, weights }
}

/** A vision transformer's folder: the same files without a tokenizer. */
export async function loadVision(
  checkpoint: Checkpoint,
  device: Device,
  dtype: ActivationDType,
  request: LoadRequest,
): Promise<VisionModel> {
  const { graph, weights } = buildVision(checkpoint, dtype, request.weights, device.gpu)
  try {
    if (device.gpu && request.gpuMemory !== undefined)
      limitExperts('loadModel', weights, request.gpuMemory - weights.bytes + weights.expertBytes)
    await weights.load(request)
    return new VisionModel({
      ...{ graph, device, dtype, tensors: weights.tensors, weights: weights.info },
      threads: Math.min(request.threads ?? device.threads, device.threads),
      parameters: countParameters(graph.layers, weights),
    })
  } catch (error) {
    weights.release()
    throw error
  }
}
