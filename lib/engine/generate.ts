import { badOption, checkOptions, MoeError } from '../errors.ts'
import { blockTokens } from '../ops/index.ts'
import type { TextStream } from '../tokenizer/index.ts'
import type { BlockPool } from './blocks.ts'
import { TraceRows } from './forward.ts'
import {
  type GenerateChunk,
  Generated,
  type GenerateOptions,
  type GenerateResult,
  type Limits,
} from './generated.ts'
import { numberOption, resolveSampling, type SamplingOptions, usesHistory } from './sampling.ts'
import type { Job, Scheduler } from './scheduler.ts'
import type { SequenceState } from './sequence_state.ts'
import { maxLogprobs, type SliceResult } from './slice.ts'

/** What a generation needs of its model. */
export interface GenerateContext {
  scheduler: Scheduler
  pool: BlockPool
  numLayers: number
  vocabSize: number
  stopIds: readonly number[]
  published: SamplingOptions
  /** Streaming decoder behind `previousId`; undefined without a tokenizer. */
  stream: ((previousId: number) => TextStream) | undefined
  newSequence(): SequenceState
}

function resolveStops({ stop }: GenerateOptions, hasTokenizer: boolean): readonly string[] {
  const stops = stop === undefined ? [] : typeof stop === 'string' ? [stop] : stop
  if (!Array.isArray(stops) || stops.some((s) => typeof s !== 'string' || s === ''))
    badOption('generate', 'stop', 'a list of non-empty strings', stop)
  if (stops.length > 0 && !hasTokenizer)
    badOption('generate', 'stop', 'absent, since this model has no tokenizer', stop)
  return stops
}

function resolveStopIds(
  { stopIds }: GenerateOptions,
  context: GenerateContext,
): ReadonlySet<number> {
  const ids = stopIds ?? context.stopIds
  if (!Array.isArray(ids)) badOption('generate', 'stopIds', 'a list of token ids', ids)
  for (const id of ids)
    numberOption('stopIds', id, { min: 0, max: context.vocabSize - 1, whole: true })
  return new Set(ids)
}

function resolveLimits(
  options: GenerateOptions,
  promptTokens: number,
  context: GenerateContext,
): Limits {
  checkOptions('generate', options)
  const wanted = numberOption('maxNewTokens', options.maxNewTokens ?? 256, { min: 1, whole: true })
  const capacity = context.pool.size * blockTokens
  if (promptTokens > capacity)
    throw new MoeError(
      'ERR_MOE_CONTEXT_FULL',
      `generate: prompt must be at most ${capacity} tokens (option maxTokens of loadModel), got ${promptTokens}`,
    )
  // The last new token is not processed any more, so it needs no room.
  const maxNewTokens = Math.min(wanted, capacity - promptTokens + 1)
  return {
    sampling: resolveSampling(options, context.published),
    maxNewTokens,
    stops: resolveStops(options, context.stream !== undefined),
    stopIds: resolveStopIds(options, context),
    top: numberOption('logprobs', options.logprobs ?? 0, { min: 0, max: maxLogprobs, whole: true }),
    room: promptTokens + maxNewTokens - 1,
  }
}

/**
 * A running generation: an async iterable of chunks and a promise of the whole result. It runs whether or not
 * anybody iterates; leaving the loop early stops it.
 */
export class Generation implements AsyncIterable<GenerateChunk>, PromiseLike<GenerateResult> {
  readonly #chunks: GenerateChunk[] = []
  readonly #result: Promise<GenerateResult>
  readonly #cancel: (reason: unknown) => void
  /** Iterators that have seen every chunk so far. */
  #waiting: (() => void)[] = []
  #ended = false

  /** @internal use model.generate() */
  constructor(prompt: () => readonly number[], options: GenerateOptions, context: GenerateContext) {
    const controller = new AbortController()
    this.#cancel = (reason) => controller.abort(reason)
    this.#result = new Promise<GenerateResult>((resolve, reject) => {
      const emit = (chunk: GenerateChunk) => {
        this.#chunks.push(chunk)
        this.#wake()
      }
      // What this throws rejects.
      start(prompt(), options, context, controller, emit, resolve, reject)
    })
    this.#result
      .catch(() => {}) // whoever iterates gets the error there
      .finally(() => {
        this.#ended = true
        this.#wake()
      })
  }

  #wake(): void {
    for (const resume of this.#waiting.splice(0)) resume()
  }

  // biome-ignore lint/suspicious/noThenProperty: being awaitable is the point
  then<A = GenerateResult, B = never>(
    onFulfilled?: ((value: GenerateResult) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(onFulfilled, onRejected)
  }

  catch<B = never>(
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<GenerateResult | B> {
    return this.#result.catch(onRejected)
  }

  finally(onFinally?: (() => void) | null): Promise<GenerateResult> {
    return this.#result.finally(onFinally)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateChunk, void, undefined> {
    let next = 0
    try {
      for (;;) {
        while (next < this.#chunks.length) yield this.#chunks[next++]!
        if (this.#ended) break
        await new Promise<void>((resolve) => this.#waiting.push(resolve))
      }
      await this.#result
    } finally {
      if (!this.#ended)
        this.#cancel(new DOMException('The generation was left early', 'AbortError'))
    }
  }
}

function start(
  prompt: readonly number[],
  options: GenerateOptions,
  context: GenerateContext,
  controller: AbortController,
  emit: (chunk: GenerateChunk) => void,
  resolve: (result: GenerateResult) => void,
  reject: (error: unknown) => void,
): void {
  const limits = resolveLimits(options, prompt.length, context) // throws into the promise
  const { signal } = options
  signal?.throwIfAborted()
  const sequence = context.newSequence()
  sequence.append(prompt)
  const run = new Generated(prompt.length, limits, context.stream?.(prompt.at(-1)!), emit)
  const trace = new TraceRows(context.numLayers)
  const close = () => {
    signal?.removeEventListener('abort', onAbort)
    sequence.dispose()
  }
  const job: Job = {
    sequence,
    room: limits.room,
    hiddenStates: false,
    routing: options.routing ?? false,
    maxTake: Number.POSITIVE_INFINITY,
    runsAhead: !usesHistory(limits.sampling),
    slice: (_, last, ahead) => ({
      logitRows: 0,
      draw: last
        ? {
            sampling: limits.sampling,
            step: run.ids.length + Number(ahead),
            promptLength: prompt.length,
            top: limits.top,
          }
        : undefined,
    }),
    onResult(result: SliceResult, take) {
      if (options.routing) trace.add({ routing: result.routing ?? [] }, 0, take)
      if (!result.drawn) return true
      if (run.accept(result.drawn)) {
        sequence.append([result.drawn.id])
        return true
      }
      close()
      resolve({ ...run.result(), ...(options.routing && { routing: trace.routing() }) })
      return false
    },
    onError(error) {
      close()
      reject(error)
    },
  }
  const onAbort = () => context.scheduler.abort(job, signal!.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  controller.signal.addEventListener(
    'abort',
    () => context.scheduler.abort(job, controller.signal.reason),
    {
      once: true,
    },
  )
  context.scheduler.submit(job)
}
