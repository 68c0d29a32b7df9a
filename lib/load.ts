import { describePhatgoose, Phatgoose } from './adapters/phatgoose.ts'
import { fitMemory } from './cache_size.ts'
import { ChatFormat } from './chat/chat_format.ts'
import { activationDType, type Device, openDevice } from './device.ts'
import { badOption } from './errors.ts'
import { modelFolder } from './hub/model_folder.ts'
import { modulesOf } from './layers/projection.ts'
import {
  type LoadModelOptions,
  type LoadRequest,
  loadOptionNames,
  resolveLoadOptions,
} from './load_options.ts'
import { restOf } from './load_rest.ts'
import { Model } from './model.ts'
import type { ModelParts } from './model_parts.ts'
import type { Architecture } from './models/architecture.ts'
import { describeModel } from './models/index.ts'
import { isSeq2Seq, isVision } from './models/kinds.ts'
import type { ActivationDType, Gpu } from './native.ts'
import type { OptionNames } from './option_names.ts'
import { numberOption } from './options.ts'
import { countParameters } from './parameters.ts'
import type { Seq2SeqModel } from './seq2seq/seq2seq_model.ts'
import type { VisionModel } from './vision/vision_model.ts'
import { absentWeights } from './weights/absent_weights.ts'
import { type Checkpoint, openCheckpoint } from './weights/checkpoint.ts'
import { CheckpointWeights } from './weights/checkpoint_weights.ts'
import {
  readWeights,
  type WeightsChoice,
  type WeightsName,
  type WeightsOption,
  weightsNames,
} from './weights/formats.ts'
import type { Json } from './weights/json.ts'
import { checkpointFolder } from './weights/mistakes.ts'
import { PackedWeights } from './weights/packed_weights.ts'
import { panelsOf } from './weights/panels.ts'
import { RandomWeights } from './weights/random_weights.ts'
import type { WeightList } from './weights/weights.ts'

interface Built<W extends WeightList> {
  graph: Architecture
  weights: W
}

/** A checkpoint's graph with handles for its weights, everything checked and nothing read. */
export function buildModel(
  checkpoint: Checkpoint,
  dtype: ActivationDType,
  options: Pick<LoadModelOptions, 'ropeTheta' | 'ropeTable'> & { weights?: WeightsChoice },
  gpu?: Gpu,
): Built<CheckpointWeights> {
  const { build } = describeModel(checkpoint.config)
  const panels = panelsOf(checkpoint.entries)
  const weights = panels
    ? new PackedWeights(checkpoint, panels, gpu, options.weights)
    : new CheckpointWeights(checkpoint, dtype, gpu, options.weights)
  const graph = build(weights, options)
  weights.checkNames()
  weights.beside(describePhatgoose(checkpoint.dir, modulesOf(graph.layers), gpu)?.bytes ?? 0)
  return { graph, weights }
}

/** The same of a configuration alone: handles that nothing fills, of the element type that it names. */
export function buildWithoutWeights(
  json: Json,
  options: Pick<LoadModelOptions, 'ropeTheta' | 'ropeTable'> & { weights?: WeightsChoice },
  gpu?: Gpu,
): Built<RandomWeights> {
  const { build } = describeModel(json)
  const weights = absentWeights(json, gpu, options.weights)
  const graph = build(weights, options)
  weights.release()
  return { graph, weights }
}

type Rest = 'tokenizer' | 'chat' | 'stopIds' | 'checkpointDefaults'

/** What both ways to a model share: `fill` gives the built weights their numbers, `rest` tells the rest. */
async function assemble<W extends WeightList>(
  where: string,
  device: Device,
  request: LoadRequest,
  { graph, weights }: Built<W>,
  fill: (weights: W, graph: Architecture) => Promise<Phatgoose | undefined>,
  rest: Pick<ModelParts, Rest>,
): Promise<Model> {
  const { deterministic, threads, maxWaiting } = request
  const dtype = activationDType(device, request.dtype)
  try {
    const shape = { layers: graph.layers, maxPositions: graph.config.maxPositionEmbeddings }
    const size = fitMemory(where, shape, weights, { device, dtype, asked: request })
    const lowRank = await fill(weights, graph)
    return new Model({
      ...{ graph, device, dtype, deterministic, ...size, maxWaiting, ...rest },
      threads: Math.min(threads ?? device.threads, device.threads),
      parameters: countParameters(graph.layers, weights),
      weights: weights.info,
      lowRank,
      tensors: [...weights.tensors, ...(lowRank?.tensors ?? [])],
    })
  } catch (error) {
    weights.release()
    throw error
  }
}

/**
 * Loads a checkpoint folder in the published Hugging Face layout: config.json, safetensors weights, and where
 * there is one a tokenizer. A folder of `vmoe` or `soft_moe` gives a `VisionModel`, one of `switch_transformers` or
 * `t5` a `Seq2SeqModel`: `loadModel<Seq2SeqModel>(dir)`.
 *
 * @param dir the folder: a path or a `file:` URL; or where there is none a model of the Hugging Face hub, `org/name` or
 *   `org/name@revision`, which is taken from the hub's cache, else downloaded by `@huggingface/hub`, installed apart
 * @throws {MoeError} ERR_MOE_CHECKPOINT, also where the hub gives no such model, ERR_MOE_UNSUPPORTED, ERR_MOE_OPTION,
 *   ERR_MOE_DTYPE, ERR_MOE_OUT_OF_MEMORY, ERR_MOE_CUDA_UNAVAILABLE, ERR_MOE_NATIVE_LOAD
 */
export async function loadModel<Kind extends AnyModel = Model>(
  dir: string | URL,
  options: LoadModelOptions = {},
): Promise<Kind> {
  return (await load(dir, options)) as Kind // which of them it is stands in the folder
}

/** What a folder may hold: a decoder, an image classifier, an encoder-decoder. */
export type AnyModel = Model | VisionModel | Seq2SeqModel

async function load(dir: string | URL, options: LoadModelOptions): Promise<AnyModel> {
  const request = resolveLoadOptions('loadModel', options, loadOptionNames)
  request.signal?.throwIfAborted()
  const device = openDevice(request.device)
  const dtype = activationDType(device, request.dtype)
  const { onDownload: onProgress, signal } = request
  const folder = checkpointFolder('loadModel', await modelFolder(dir, { onProgress, signal }))
  const checkpoint = openCheckpoint(folder)
  // Code that a decoder does without is loaded when it is needed.
  if (isVision(checkpoint.config)) {
    const { loadVision } = await import('./load_vision.ts')
    return loadVision(checkpoint, device, dtype, request)
  }
  if (isSeq2Seq(checkpoint.config)) {
    const { loadSeq2Seq } = await import('./load_seq2seq.ts')
    return loadSeq2Seq(checkpoint, device, dtype, request)
  }
  const { config } = describeModel(checkpoint.config)
  const rest = await restOf(checkpoint, config, request)
  const { tokenizer } = rest
  const built = buildModel(checkpoint, dtype, request, device.gpu)
  const fill = async (weights: CheckpointWeights, { layers }: Architecture) => {
    await weights.load(request)
    return Phatgoose.open(folder, modulesOf(layers), device.gpu, request.signal)
  }
  return assemble('loadModel', device, request, built, fill, {
    ...rest,
    chat: tokenizer && ChatFormat.open(folder, config, tokenizer),
  })
}

/** Options of `randomModel`: those of `loadModel` that need no files. */
export interface RandomModelOptions
  extends Omit<LoadModelOptions, 'onProgress' | 'onDownload' | 'generationDefaults' | 'weights'> {
  /** How matrices are stored; default bf16. Quantised ones are made as they are, without others before them. */
  weights?: Exclude<WeightsOption, 'auto'> | undefined
  /** Equal seeds give equal weights. */
  seed?: number | undefined
}

const { onProgress: _, onDownload: __, generationDefaults: ___, ...shared } = loadOptionNames
const madeFormats = weightsNames.filter(
  (name): name is Exclude<WeightsName, 'auto'> => name !== 'auto',
)
const randomOptionNames: OptionNames<RandomModelOptions> = { ...shared, weights: true, seed: true }

/**
 * A model of full size with random weights, made in memory: for benchmarks where no checkpoint is at hand.
 *
 * @param config what a config.json would hold, with `model_type`
 * @throws {MoeError} as loadModel
 */
export function randomModel(
  config: { model_type: 'switch_transformers' | 't5'; [key: string]: unknown },
  options?: RandomModelOptions,
): Promise<Seq2SeqModel>
export function randomModel(
  config: { model_type: 'vmoe' | 'soft_moe'; [key: string]: unknown },
  options?: RandomModelOptions,
): Promise<VisionModel>
export function randomModel<Kind extends AnyModel = Model>(
  config: Record<string, unknown>,
  options?: RandomModelOptions,
): Promise<Kind>
export async function randomModel<Kind extends AnyModel = Model>(
  config: Record<string, unknown>,
  options: RandomModelOptions = {},
): Promise<Kind> {
  return (await makeRandom(config, options)) as Kind // which of them it is stands in the configuration
}

async function makeRandom(
  config: Record<string, unknown>,
  options: RandomModelOptions,
): Promise<AnyModel> {
  const where = 'randomModel'
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    badOption(where, 'config', 'the contents of a config.json', config)
  const request = resolveLoadOptions(where, options, randomOptionNames)
  const { weights: asked = 'bf16', seed: given } = options
  const format = readWeights(where, asked, madeFormats)
  const seed = numberOption('seed', given ?? 1, { min: 0, max: 2 ** 20, whole: true, where })
  request.signal?.throwIfAborted()
  const device = openDevice(request.device)
  const weights = new RandomWeights(format, seed, device.gpu)
  const fill = async () => {
    await weights.load(request.signal)
    return undefined
  }
  if (isVision(config)) {
    const { randomVision } = await import('./load_vision.ts')
    return randomVision(where, config, device, request, weights, fill)
  }
  if (isSeq2Seq(config)) {
    const { randomSeq2Seq } = await import('./load_seq2seq.ts')
    return randomSeq2Seq(where, config, device, request, weights, fill)
  }
  const described = describeModel({ ...config })
  const built = { graph: described.build(weights, request), weights }
  return assemble(where, device, request, built, fill, {
    tokenizer: undefined,
    stopIds: described.config.eosIds,
    checkpointDefaults: {},
  })
}
