import { limitExperts } from './cache_size.ts'
import { activationDType, type Device } from './device.ts'
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
import type { RandomWeights } from './weights/random_weights.ts'
import type { WeightList } from './weights/weights.ts'

interface Built<W extends WeightList> {
  graph: VisionTransformer
  weights: W
}

/** A checkpoint's graph with handles for its weights, everything checked and nothing read. */
export function buildVision(
  checkpoint: Checkpoint,
  dtype: ActivationDType,
  format: WeightsChoice,
  gpu?: Gpu,
): Built<CheckpointWeights> {
  const weights = new CheckpointWeights(checkpoint, dtype, gpu, format)
  const graph = new VisionTransformer(readVisionConfig(checkpoint.config), weights)
  weights.checkNames()
  return { graph, weights }
}

/** The same of a configuration alone. */
export function buildVisionWithoutWeights(json: Json) {
  const weights = new AbsentWeights('f32', 0)
  const graph = new VisionTransformer(readVisionConfig(json), weights)
  weights.release()
  return { graph, weights }
}

/** A vision transformer: no tokenizer and no cache. `fill` gives the built weights their numbers. */
async function assembleVision<W extends WeightList>(
  where: string,
  { device, dtype, request }: { device: Device; dtype: ActivationDType; request: LoadRequest },
  { graph, weights }: Built<W>,
  fill: (weights: W) => Promise<unknown>,
): Promise<VisionModel> {
  try {
    if (device.gpu && request.gpuMemory !== undefined)
      limitExperts(where, weights, request.gpuMemory - weights.bytes + weights.expertBytes)
    await fill(weights)
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

/** A vision transformer's folder. */
export function loadVision(
  checkpoint: Checkpoint,
  device: Device,
  dtype: ActivationDType,
  request: LoadRequest,
): Promise<VisionModel> {
  return assembleVision(
    'loadModel',
    { device, dtype, request },
    buildVision(checkpoint, dtype, request.weights, device.gpu),
    (weights) => weights.load(request),
  )
}

/** One with random weights, of the contents of a config.json. */
export function randomVision(
  where: string,
  json: Json,
  device: Device,
  request: LoadRequest,
  weights: RandomWeights,
  fill: () => Promise<unknown>,
): Promise<VisionModel> {
  const dtype = activationDType(device, request.dtype)
  const graph = new VisionTransformer(readVisionConfig({ ...json }), weights)
  return assembleVision(where, { device, dtype, request }, { graph, weights }, fill)
}
