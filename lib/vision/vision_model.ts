import { PlanCache } from '../engine/plan_cache.ts'
import { badOption, disposed, MoeError, notFinite } from '../errors.ts'
import { LoadedModel, type LoadedParts } from '../loaded_model.ts'
import { type Arena, type NumberArray, native, type Tensor, type Weight } from '../native.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, flagOption, nameOption, signalOption } from '../options.ts'
import { type BatchPlan, type BatchShape, recordBatch } from './batch_plan.ts'
import type { VisionConfig } from './config.ts'
import { type ImageData, type ImageInput, joinImages, openImages, readImages } from './images.ts'
import type { VisionTransformer } from './vision_transformer.ts'

/** Options of `classify` and `embed`. */
export interface ClassifyOptions {
  /** Also return what the routers decided, and the hidden states. Default false. */
  routing?: boolean | undefined
  /**
   * Which tokens compete for places at the experts: those of each image (default), so that an image's result does not
   * depend on others, or `published`: the configuration's group size, over images in order.
   */
  groups?: 'image' | 'published' | undefined
  /** Aborts between batches of a list; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

const optionNames: OptionNames<ClassifyOptions> = { routing: true, groups: true, signal: true }

/** Of one image and layer: N tokens, K choices of each (K = E where experts choose), E experts. */
export interface VisionRouting {
  /** [N, K], best first; 0 to E - 1 where experts choose */
  expertIds: Int32Array
  /** [N, K] */
  expertWeights: Float32Array
  /** [N, K], 1 where the expert had no place for the token, or did not choose it */
  dropped: Uint8Array
  /** [N, E] */
  routerLogits: Float32Array
}

/** The same of Soft MoE: S slots of all experts. */
export interface SoftVisionRouting {
  /** [N, S], shares of the tokens in each slot */
  dispatch: Float32Array
  /** [N, S], shares of the slots in each token */
  combine: Float32Array
  /** [N, S] */
  routerLogits: Float32Array
}

/** What happened to one image in the layers: N tokens, H hidden. */
export interface VisionTrace {
  /** One a layer; undefined for a layer without experts. */
  routing?: (VisionRouting | SoftVisionRouting | undefined)[]
  /** One a layer: [N, H] */
  hiddenStates?: Float32Array[]
}

/** What a vision model says of one image. */
export interface Classification extends VisionTrace {
  /** [classes], before softmax or sigmoid */
  logits: Float32Array
  /** The class with the largest logit. */
  classId: number
}

/** What a vision model makes of one image, before its head. */
export interface Embedding extends VisionTrace {
  /** What the head reads: [representation size], else [H] */
  embedding: Float32Array
}

/** @internal What loadModel hands over. */
export interface VisionModelParts extends LoadedParts {
  graph: VisionTransformer
  threads: number
  tensors: (Tensor | Weight)[]
}

/** Tokens of a batch: enough to fill the machine. */
const batchTokens = { cpu: 1024, gpu: 8192 }
const maxPlans = 8

/** A vision transformer with experts. All calls are asynchronous and run off the JavaScript thread. Made by `loadModel`. */
export class VisionModel extends LoadedModel {
  readonly config: VisionConfig
  readonly #parts: VisionModelParts
  readonly #arena: Arena
  readonly #plans = new PlanCache<BatchPlan>(maxPlans)
  readonly #running = new Set<Promise<unknown>>()
  #disposed: Promise<void> | undefined

  /** @internal */
  constructor(parts: VisionModelParts) {
    super(parts)
    this.config = parts.graph.config
    this.#parts = parts
    this.#arena = new (native().Arena)(parts.device.gpu)
  }

  /**
   * The logits of each class, for one image or a list, which goes in batches: give many at once.
   *
   * @throws {MoeError} ERR_MOE_SHAPE, ERR_MOE_OPTION, ERR_MOE_UNSUPPORTED (no head; files without sharp),
   *   ERR_MOE_NUMERIC for an image of which NaN or infinity came, ERR_MOE_DISPOSED
   */
  classify(image: ImageInput, options?: ClassifyOptions): Promise<Classification>
  classify(images: readonly ImageInput[], options?: ClassifyOptions): Promise<Classification[]>
  async classify(
    images: ImageInput | readonly ImageInput[],
    options: ClassifyOptions = {},
  ): Promise<Classification | Classification[]> {
    if (this.config.numClasses === 0)
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        'classify: model must have a head, got num_classes 0; embed gives its vectors',
      )
    return this.#each('classify', images, options, ({ logits, pooled: _, ...trace }) => {
      const classId = logits!.reduce((best, value, i) => (value > logits![best]! ? i : best), 0)
      return { logits: logits!, classId, ...trace }
    })
  }

  /** The vector of each image that the head reads, for one image or a list. Throws as `classify`. */
  embed(image: ImageInput, options?: ClassifyOptions): Promise<Embedding>
  embed(images: readonly ImageInput[], options?: ClassifyOptions): Promise<Embedding[]>
  embed(
    images: ImageInput | readonly ImageInput[],
    options: ClassifyOptions = {},
  ): Promise<Embedding | Embedding[]> {
    return this.#each('embed', images, options, ({ logits: _, pooled, ...trace }) => ({
      embedding: pooled,
      ...trace,
    }))
  }

  /** Frees everything when the calls under way have ended. A second call does nothing. */
  dispose(): Promise<void> {
    this.#disposed ??= this.#dispose()
    return this.#disposed
  }

  async #dispose(): Promise<void> {
    await Promise.allSettled(this.#running)
    const made = [...this.#plans.values()].flatMap(({ tensors }) => tensors)
    this.#plans.clear()
    this.#arena.release()
    for (const tensor of [...made, ...this.#parts.tensors]) tensor.release()
  }

  async #each<T>(
    where: string,
    given: ImageInput | readonly ImageInput[],
    options: ClassifyOptions,
    result: (image: ImageResult) => T,
  ): Promise<T | T[]> {
    if (this.#disposed !== undefined) disposed('model')
    checkOptions(where, options, optionNames)
    const routing = flagOption(where, 'routing', options.routing)
    const groups = nameOption(where, 'groups', options.groups ?? 'image', ['image', 'published'])
    const inputs = Array.isArray(given) ? [...given] : [given as ImageInput]
    if (inputs.length === 0) badOption(where, 'images', 'at least one image', 'none')
    const signal = signalOption(where, options.signal)
    signal?.throwIfAborted()
    const work = this.#run(where, inputs, { routing, groups, signal })
    this.#running.add(work)
    try {
      const results = (await work).map(result)
      return Array.isArray(given) ? results : results[0]!
    } finally {
      this.#running.delete(work)
    }
  }

  async #run(
    where: string,
    inputs: ImageInput[],
    { routing, groups, signal }: RunOptions,
  ): Promise<ImageResult[]> {
    const images = readImages(where, inputs, this.config)
    const { tokens: N, moe } = this.config
    const groupSize = groups === 'published' && moe ? moe.groupSize : N
    const whole = groupSize / greatestDivisor(groupSize, N) // images of as few whole groups as there can be
    if (images.length % whole !== 0)
      badOption(
        where,
        'images',
        `a multiple of ${whole} images for groups of ${groupSize}`,
        images.length,
      )
    const most = batchTokens[this.#parts.device.gpu ? 'gpu' : 'cpu']
    const perBatch = Math.max(1, Math.floor(most / (N * whole))) * whole
    const results: ImageResult[] = []
    for (let i = 0; i < images.length; i += perBatch) {
      signal?.throwIfAborted()
      const some = await openImages(where, images.slice(i, i + perBatch), this.config)
      for (const result of await this.#batch(some, groupSize, routing)) {
        const wrong = (result.logits ?? result.pooled).findIndex((value) => !Number.isFinite(value))
        if (wrong >= 0)
          notFinite(where, `what images[${results.length}] gives`, `NaN or infinity at ${wrong}`)
        results.push(result)
      }
    }
    return results
  }

  async #batch(images: ImageData[], groupSize: number, routing: boolean): Promise<ImageResult[]> {
    const pixels = joinImages(images)
    const dtype = pixels instanceof Float32Array ? 'f32' : 'u8'
    const shape: BatchShape = { images: images.length, dtype, groupSize, routing }
    const { graph, threads, device, dtype: activations } = this.#parts
    const { plan } = this.#plans.get(JSON.stringify(shape), () =>
      recordBatch(new (native().Plan)(this.#arena), graph, shape, {
        dtype: activations,
        gpu: device.gpu,
      }),
    )
    const outputs = await plan.run({ images: pixels }, threads)
    return images.map((_, b) => readImage(outputs, graph, b, images.length))
  }
}

interface RunOptions {
  routing: boolean
  groups: 'image' | 'published'
  signal: AbortSignal | undefined
}

interface ImageResult extends VisionTrace {
  pooled: Float32Array
  logits?: Float32Array
}

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b))

/** What stands in the outputs of a batch of B images for image b. */
function readImage(
  outputs: { [name: string]: NumberArray },
  { config }: VisionTransformer,
  b: number,
  B: number,
): ImageResult {
  const part = <T extends NumberArray>(name: string): T => {
    const size = outputs[name]!.length / B
    return outputs[name]!.slice(b * size, b * size + size) as T
  }
  const out: ImageResult = { pooled: part('pooled') }
  if (outputs.logits) out.logits = part('logits')
  if (!outputs['hidden.0']) return out
  const layers = Array.from({ length: config.numLayers }, (_, l) => l)
  out.hiddenStates = layers.map((l) => part(`hidden.${l}`))
  out.routing = layers.map((l) => {
    if (!outputs[`logits.${l}`]) return undefined
    const routerLogits = part<Float32Array>(`logits.${l}`)
    if (outputs[`dispatch.${l}`])
      return { dispatch: part(`dispatch.${l}`), combine: part(`combine.${l}`), routerLogits }
    return {
      expertIds: part(`ids.${l}`),
      expertWeights: part(`weights.${l}`),
      dropped: Uint8Array.from(part<Int32Array>(`rows.${l}`), (row) => (row < 0 ? 1 : 0)),
      routerLogits,
    }
  })
  return out
}
