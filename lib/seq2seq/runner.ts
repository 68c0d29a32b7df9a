import { allocateCaches } from '../engine/cache.ts'
import { type ChunkResult, maxLogprobs, type SampleRequest } from '../engine/chunk.ts'
import { PlanCache } from '../engine/plan_cache.ts'
import { biasedPlaces, declareSampling, maskedRows, sampleInputs } from '../engine/sample_inputs.ts'
import { readSampled } from '../engine/step_results.ts'
import type { LowRank } from '../layers/projection.ts'
import type { Trace } from '../layers/step.ts'
import {
  type ActivationDType,
  type Arena,
  type Gpu,
  type NumberArray,
  native,
  type Plan,
  type Tensor,
} from '../native.ts'
import * as ops from '../ops/index.ts'
import { blockTokens } from '../ops/index.ts'
import type { KeyValueCache } from './attention.ts'
import type { EncoderDecoder } from './encoder_decoder.ts'
import { declareStack, type Run, type RunsShape, shapeOf, stackInputs } from './step_inputs.ts'
import { outputTrace, readTrace, type StackTrace, type TraceWish, textRows } from './trace.ts'

/** A text under way: what is read, what has been written, and where the cache has both. */
export interface TextState {
  /** Of the encoder. */
  readonly source: readonly number[]
  readonly sourceBlocks: readonly number[]
  /** Of the decoder, from its start id on. */
  readonly ids: number[]
  readonly targetBlocks: readonly number[]
  /** Of `ids`, those that the decoder has passed. */
  passed: number
}

export interface EncodeWish extends TraceWish {
  /** The encoder's output. */
  hidden: boolean
  /** Keep what the decoder sees of it. */
  keep: boolean
}

export interface EncodeResult extends StackTrace {
  /** [S, H] */
  hidden?: Float32Array
}

export interface DecodeResult extends StackTrace {
  /** [T, V] of all tokens of the pass. */
  logits?: Float32Array
  sampled?: NonNullable<ChunkResult['sampled']>
}

export interface RunnerOptions {
  gpu: Gpu | undefined
  dtype: ActivationDType
  threads: number
  numBlocks: number
  /** Ids at and beyond it are never sampled. */
  vocabulary: number
  deterministic: boolean
  /** Beside the graph's matrices. */
  lowRank?: LowRank | undefined
}

const maxPlans = 64
/** Best tokens that plans report: few numbers, so that few plans serve all. */
const topWidths = [0, 5, maxLogprobs]

/** Runs passes of encoder and decoder: has the cache and the recorded plans. */
export class Seq2SeqRunner {
  readonly #graph: EncoderDecoder
  readonly #options: RunnerOptions
  readonly #arena: Arena
  readonly #tensors: Tensor[] = []
  readonly #caches: KeyValueCache[]
  readonly #plans = new PlanCache<Plan>(maxPlans)

  constructor(graph: EncoderDecoder, options: RunnerOptions) {
    this.#graph = graph
    this.#options = options
    const { gpu, numBlocks, dtype } = options
    this.#arena = new (native().Arena)(gpu)
    try {
      this.#caches = allocateCaches(graph.decoder, numBlocks, (shape) => {
        const tensor = native().tensor(shape, dtype, gpu)
        this.#tensors.push(tensor)
        return tensor
      }) as KeyValueCache[]
    } catch (error) {
      this.dispose() // out of memory leaves nothing behind
      throw error
    }
  }

  /** One pass of the encoder over texts of any lengths, whose blocks its keys and values use meanwhile. */
  async encode(texts: readonly TextState[], wish: EncodeWish): Promise<EncodeResult[]> {
    const runs = texts.map(({ source, sourceBlocks: blocks }) => ({
      ids: source,
      first: 0,
      blocks,
    }))
    const shape = { ...shapeOf(runs), crowded: this.#crowded(runs), ...wish }
    const plan = this.#plans.get(`encode ${JSON.stringify(shape)}`, () =>
      this.#record((plan) => this.#recordEncoder(plan, shape)),
    )
    const outputs = await plan.run(stackInputs(runs, shape), this.#options.threads)
    return this.#read(runs, outputs, this.#graph.encoder.length, wish, (part) =>
      wish.hidden ? { hidden: part('hidden') } : {},
    )
  }

  /**
   * One pass of the decoder over all tokens of texts that it has not passed.
   *
   * @param want `logits`: of all these tokens; else each text's next token is sampled
   */
  async decode(
    texts: readonly TextState[],
    want: TraceWish & { samples?: readonly SampleRequest[] },
  ): Promise<DecodeResult[]> {
    const { samples, routing, hiddenStates } = want
    const runs = texts.map((text) => ({
      ids: text.ids.slice(text.passed),
      first: text.passed,
      blocks: text.targetBlocks,
      source: { blocks: text.sourceBlocks, tokens: text.source.length },
    }))
    const sampled = texts.map((sequence, i) => ({ sequence, sample: samples?.[i] }))
    const shape: DecodeShape = {
      ...{ ...shapeOf(runs), crowded: this.#crowded(runs), routing, hiddenStates },
      sampled: samples?.length ?? 0,
      masked: maskedRows(sampled),
      biased: biasedPlaces(sampled),
      top: topWidths.find((width) => (samples ?? []).every(({ top }) => top <= width))!,
    }
    const plan = this.#plans.get(`decode ${JSON.stringify(shape)}`, () =>
      this.#record((plan) => this.#recordDecoder(plan, shape)),
    )
    const inputs = { ...stackInputs(runs, shape), ...sampleInputs(sampled) }
    const outputs = await plan.run(
      { ...inputs, logitRows: logitRows(runs, samples !== undefined) },
      this.#options.threads,
    )
    const chosen: ChunkResult[] = texts.map(() => ({}))
    if (samples) readSampled(shape.top)(outputs, sampled, chosen)
    for (const text of texts) text.passed = text.ids.length
    return this.#read(runs, outputs, this.#graph.decoder.length, want, (part, i) =>
      samples ? { sampled: chosen[i]!.sampled! } : { logits: part('logits') },
    )
  }

  /** Frees the cache and everything recorded. */
  dispose(): void {
    this.#plans.clear()
    this.#arena.release()
    for (const tensor of this.#tensors) tensor.release()
  }

  /** Whether an expert might get more tokens of a text than it takes. */
  #crowded(runs: readonly Run[]): boolean {
    const { moe } = this.#graph.config
    return moe !== undefined && runs.some(({ ids }) => ids.length > moe.capacity)
  }

  #record(body: (plan: Plan) => void): Plan {
    const plan = new (native().Plan)(this.#arena, { deterministic: this.#options.deterministic })
    body(plan)
    return plan
  }

  #recordEncoder(plan: Plan, shape: RunsShape & EncodeWish & { crowded: boolean }): void {
    const { dtype, lowRank } = this.#options
    const { ids, places, segments } = declareStack(plan, shape, shape.crowded)
    const trace: Trace = { hiddenStates: [], routing: [] }
    const step = { plan, dtype, ids, places, segments, trace, lowRank }
    const graph = this.#graph
    const x = graph.encode({ ...step, cache: this.#caches[0]! })
    if (shape.hidden) plan.output('hidden', graph.encoded({ plan, dtype: 'f32' }, x))
    if (shape.keep) graph.keep(step, graph.encoded(step, x), places.slots, this.#caches)
    outputTrace(plan, trace, shape)
  }

  #recordDecoder(plan: Plan, shape: DecodeShape): void {
    const { dtype, numBlocks, vocabulary, lowRank } = this.#options
    const { vocabSize } = this.#graph.config
    const { ids, places, looks, segments } = declareStack(plan, shape, shape.crowded)
    const rows = plan.input('logitRows', [shape.sampled || shape.tokens], 'i32')
    const asked = declareSampling(plan, shape, numBlocks * blockTokens, vocabSize)
    const trace: Trace = { hiddenStates: [], routing: [] }
    const logits = this.#graph.decode({
      ...{ plan, dtype, ids, places, looks: looks!, segments, trace, lowRank, logitRows: rows },
      caches: this.#caches,
    })
    if (shape.sampled > 0) {
      const sampled = ops.sample(plan, { logits, ...asked, vocabulary, top: shape.top })
      for (const [name, tensor] of Object.entries(sampled)) plan.output(name, tensor)
    } else plan.output('logits', logits)
    outputTrace(plan, trace, shape)
  }

  /** Each text's share of what a pass gives. */
  #read<Own extends object>(
    runs: readonly Run[],
    outputs: { [name: string]: NumberArray },
    numLayers: number,
    wish: TraceWish,
    own: (part: (name: string) => Float32Array, i: number) => Own,
  ): (Own & StackTrace)[] {
    const tokens = runs.reduce((n, { ids }) => n + ids.length, 0)
    let t = 0
    return runs.map(({ ids }, i) => {
      const range = [t, t + ids.length] as const
      t = range[1]
      const part = (name: string) => textRows<Float32Array>(outputs[name]!, range, tokens)
      return { ...own(part, i), ...readTrace(outputs, numLayers, range, tokens, wish) }
    })
  }
}

interface DecodeShape extends RunsShape, TraceWish {
  crowded: boolean
  sampled: number
  masked: number
  biased: number
  top: number
}

/** All rows, or the last one of each text. */
function logitRows(runs: readonly Run[], last: boolean): Int32Array {
  let t = 0
  return Int32Array.from(
    runs.flatMap(({ ids }) => {
      const first = t
      t += ids.length
      return last ? [t - 1] : ids.map((_, i) => first + i)
    }),
  )
}
