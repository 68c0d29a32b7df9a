import { availableMemory, type Device, type DeviceName, openDevice } from './device.ts'
import { numberOption, publishedSampling } from './engine/sampling.ts'
import { blockBytes } from './engine/step.ts'
import { badOption, checkOptions, MoeError } from './errors.ts'
import type { Parameters } from './model.ts'
import { Model } from './model.ts'
import type { Architecture } from './models/architecture.ts'
import type { ModelConfig } from './models/config.ts'
import { ConfigReader } from './models/config.ts'
import { describeModel } from './models/index.ts'
import type { ActivationDType, Gpu } from './native.ts'
import { blockTokens } from './ops/index.ts'
import { openTokenizer } from './tokenizer/index.ts'
import { type Checkpoint, openCheckpoint } from './weights/checkpoint.ts'
import { CheckpointWeights, type LoadProgress } from './weights/checkpoint_weights.ts'
import { RandomWeights } from './weights/random_weights.ts'
import type { RopeRounding, WeightList } from './weights/weights.ts'

export interface LoadModelOptions {
  /** Default `auto`: a usable GPU, else the CPU; `model.device.reason` says why. */
  device?: DeviceName | undefined
  /** Element type of activations. `auto`: f32 on the CPU, bf16 on a GPU. Weights keep the file's type. */
  dtype?: 'auto' | ActivationDType | undefined
  /** CPU threads; default: all that affinity and cgroup quota allow. */
  threads?: number | undefined
  /**
   * Tokens that the cache holds, over all sequences: the limit of the context. Default: the larger of the
   * model's max_position_embeddings and 4096, within a quarter of the free memory, or on a GPU 90 % of what the
   * weights leave.
   */
  maxTokens?: number | undefined
  /** Rotary base, instead of the configuration's. */
  ropeTheta?: number | undefined
  /** How Yuan's rotary table is rounded; default `published`. */
  ropeTable?: RopeRounding | undefined
  /** Called after each tensor. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Aborts loading; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

interface Resolved {
  dtype: ActivationDType
  threads: number | undefined
  maxTokens: number | undefined
}

function resolveOptions(options: LoadModelOptions, onGpu = false): Resolved {
  checkOptions('loadModel', options)
  const where = 'loadModel'
  const { dtype = 'auto', threads, maxTokens, ropeTheta, ropeTable, onProgress } = options
  if (!['auto', 'f32', 'bf16'].includes(dtype))
    badOption(where, 'dtype', "'auto', 'f32' or 'bf16'", dtype)
  if (threads !== undefined)
    numberOption('threads', threads, { min: 1, max: 1024, whole: true, where })
  if (maxTokens !== undefined)
    numberOption('maxTokens', maxTokens, { min: 1, max: 2 ** 30, whole: true, where })
  if (ropeTheta !== undefined) numberOption('ropeTheta', ropeTheta, { min: 1, where })
  if (ropeTable !== undefined && !['published', 'bf16-frequencies', 'exact'].includes(ropeTable))
    badOption(where, 'ropeTable', "'published', 'bf16-frequencies' or 'exact'", ropeTable)
  if (onProgress !== undefined && typeof onProgress !== 'function')
    badOption(where, 'onProgress', 'a function', onProgress)
  return { dtype: dtype === 'auto' ? (onGpu ? 'bf16' : 'f32') : dtype, threads, maxTokens }
}

/** Parameters by what the weights were asked for as. */
export function countParameters(
  config: ModelConfig,
  { parameters: p }: Pick<WeightList, 'parameters'>,
): Parameters {
  const ffn = config.experts.filter((kind) => kind === 'ffn').length
  const used = Math.min(config.topK, ffn) / ffn
  return {
    total: p.dense + p.expert + p.embedding,
    activePerToken: p.dense + Math.round(p.expert * used),
  }
}

/** A checkpoint's graph with handles for its weights, everything checked and nothing read. */
export function buildModel(
  checkpoint: Checkpoint,
  dtype: ActivationDType,
  options: Pick<LoadModelOptions, 'ropeTheta' | 'ropeTable'> & { maxTokens: number },
  gpu?: Gpu,
): { graph: Architecture; weights: CheckpointWeights } {
  const { build } = describeModel(checkpoint.config)
  const weights = new CheckpointWeights(checkpoint, dtype, gpu)
  const graph = build(weights, options)
  weights.checkNames()
  return { graph, weights }
}

/** Everything that is decided before weights are asked for. */
interface Setting {
  device: Device
  dtype: ActivationDType
  threads: number
  numBlocks: number
  maxTokens: number
  /** Throws ERR_MOE_OUT_OF_MEMORY when weights of so many bytes do not fit beside the cache. */
  checkMemory(weightBytes: number): void
}

/** @param weightBytes of the weights on a GPU; asked only there */
function resolveSetting(
  config: ModelConfig,
  device: Device,
  options: LoadModelOptions,
  weightBytes: () => number,
): Setting {
  const { dtype, threads, maxTokens: asked } = resolveOptions(options, device.gpu !== undefined)
  const free = device.gpu ? device.gpu.freeMemory() : availableMemory()
  const perBlock = blockBytes(config, dtype)
  const defaultTokens = (): number => {
    const forCache = device.gpu ? 0.9 * (free - weightBytes()) : free / 4
    const affordable = Math.floor(forCache / perBlock) * blockTokens
    const wanted = Math.max(config.maxPositionEmbeddings, 4096)
    return Math.max(blockTokens, Math.min(wanted, affordable))
  }
  const numBlocks = Math.ceil((asked ?? defaultTokens()) / blockTokens)
  const checkMemory = (bytes: number): void => {
    const needed = numBlocks * perBlock + bytes
    if (needed > free)
      throw new MoeError(
        'ERR_MOE_OUT_OF_MEMORY',
        `loadModel: weights and cache must fit the free memory of ${free} bytes, got ${needed} bytes`,
      )
  }
  checkMemory(0) // before handles take memory for tables of that length
  return {
    device,
    dtype,
    threads: Math.min(threads ?? device.threads, device.threads),
    numBlocks,
    maxTokens: numBlocks * blockTokens,
    checkMemory,
  }
}

/** What a GPU holds of these weights, the rotary table as long as most caches; nothing goes there. */
const bytesOf = (build: (options: { maxTokens: number }) => WeightList): number =>
  build({ maxTokens: 4096 }).bytes

/** Frees what was handed out when `work` fails. */
async function releasedOnFailure<T>(weights: WeightList, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    for (const tensor of weights.tensors) tensor.release()
    throw error
  }
}

/**
 * Loads a checkpoint folder in the published Hugging Face layout: config.json, safetensors weights, and where
 * there is one a tokenizer.
 *
 * @param dir the folder
 * @throws {MoeError} ERR_MOE_CHECKPOINT, ERR_MOE_UNSUPPORTED, ERR_MOE_OPTION, ERR_MOE_DTYPE,
 *   ERR_MOE_OUT_OF_MEMORY, ERR_MOE_CUDA_UNAVAILABLE, ERR_MOE_NATIVE_LOAD
 */
export async function loadModel(dir: string, options: LoadModelOptions = {}): Promise<Model> {
  if (typeof dir !== 'string' || dir === '')
    badOption('loadModel', 'dir', 'a path of a folder', dir)
  resolveOptions(options)
  options.signal?.throwIfAborted()
  const device = openDevice(options.device)
  const checkpoint = openCheckpoint(dir)
  const { config } = describeModel(checkpoint.config)
  const setting = resolveSetting(config, device, options, () =>
    bytesOf((dry) => buildModel(checkpoint, 'f32', { ...options, ...dry }).weights),
  )
  const { maxTokens, dtype } = setting
  const { graph, weights } = buildModel(checkpoint, dtype, { ...options, maxTokens }, device.gpu)
  const tokenizer = await openTokenizer(dir, config)
  const generation = new ConfigReader(checkpoint.generationConfig, 'generation_config.json')
  const published = generation.ids('eos_token_id')
  return releasedOnFailure(weights, async () => {
    setting.checkMemory(weights.bytes)
    await weights.load(options)
    return new Model({
      ...setting,
      graph,
      parameters: countParameters(config, weights),
      tokenizer,
      stopIds: published.length > 0 ? published : config.eosIds,
      published: publishedSampling(checkpoint.generationConfig),
      tensors: weights.tensors,
    })
  })
}

export interface RandomModelOptions extends Omit<LoadModelOptions, 'onProgress'> {
  /** Element type of the weights; default bf16. */
  weights?: 'f32' | 'bf16' | undefined
  /** Equal seeds give equal weights. */
  seed?: number | undefined
}

/**
 * A model of full size with random weights, made in memory: for benchmarks where no checkpoint is at hand.
 *
 * @param config what a config.json would hold, with `model_type`
 * @throws {MoeError} as loadModel
 */
export async function randomModel(
  config: Record<string, unknown>,
  options: RandomModelOptions = {},
): Promise<Model> {
  if (typeof config !== 'object' || config === null)
    badOption('randomModel', 'config', 'the contents of a config.json', config)
  resolveOptions(options)
  const { weights: dtype = 'bf16', signal } = options
  if (dtype !== 'bf16' && dtype !== 'f32')
    badOption('randomModel', 'weights', "'f32' or 'bf16'", dtype)
  const seed = numberOption('seed', options.seed ?? 1, {
    min: 0,
    max: 2 ** 20,
    whole: true,
    where: 'randomModel',
  })
  const device = openDevice(options.device)
  const described = describeModel(config)
  const build = (weights: RandomWeights, maxTokens: number) =>
    described.build(weights, { ...options, maxTokens })
  const setting = resolveSetting(described.config, device, options, () =>
    bytesOf(({ maxTokens }) => {
      const dry = new RandomWeights(dtype, seed)
      build(dry, maxTokens)
      return dry
    }),
  )
  const weights = new RandomWeights(dtype, seed, device.gpu)
  const graph = build(weights, setting.maxTokens)
  return releasedOnFailure(weights, async () => {
    setting.checkMemory(weights.bytes)
    await weights.load(signal)
    return new Model({
      ...setting,
      graph,
      parameters: countParameters(described.config, weights),
      tokenizer: undefined,
      stopIds: described.config.eosIds,
      published: {},
      tensors: weights.tensors,
    })
  })
}
