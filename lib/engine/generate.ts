import { badOption, MoeError } from '../errors.ts'
import { checkIds, checkOptions, flagOption, numberOption, type TokenIds } from '../options.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { maxLogprobs } from './chunk.ts'
import {
  Completion,
  type GenerateChunk,
  type GenerateOptions,
  type GenerateResult,
  type Limits,
} from './completion.ts'
import { type CheckpointDefaults, resolveSampling, usesHistory } from './sampling.ts'
import type { Job, Scheduler } from './scheduler.ts'
import type { SequenceState } from './sequence_state.ts'
import { TraceRows } from './trace.ts'

/** What a generation needs of its model. */
export interface GenerateContext {
  scheduler: Scheduler
  numLayers: number
  vocabSize: number
  stopIds: readonly number[]
  checkpointDefaults: CheckpointDefaults
  tokenizer: Tokenizer | undefined
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

/** @param before tokens that the sequence has without the prompt */
function resolveLimits(
  options: GenerateOptions,
  before: number,
  promptTokens: number,
  context: GenerateContext,
): Limits {
  const { checkpointDefaults: defaults, scheduler } = context
  const maxNewTokens = numberOption(
    'maxNewTokens',
    options.maxNewTokens ?? defaults.maxNewTokens ?? 256,
    { min: 1, whole: true },
  )
  const room = Math.max(0, scheduler.capacity - before)
  if (promptTokens > room)
    throw new MoeError(
      'ERR_MOE_CONTEXT_FULL',
      `generate: prompt must be at most ${room} tokens (option maxTokens of loadModel), got ${promptTokens}`,
    )
  // The last new token is not processed any more, so it needs no room.
  const fitting = Math.min(maxNewTokens, room - promptTokens + 1)
  return {
    sampling: resolveSampling(options, defaults),
    maxNewTokens: fitting,
    stops: resolveStops(options, context.tokenizer !== undefined),
    stopIds: resolveStopIds(options, context),
    top: numberOption('logprobs', options.logprobs ?? 0, { min: 0, max: maxLogprobs, whole: true }),
    reserveTokens: before + promptTokens + fitting - 1,
  }
}

/** The prompt's ids; a text that continues another one gets no BOS. */
function encode(
  prompt: string | TokenIds,
  continues: boolean,
  { tokenizer, vocabSize }: GenerateContext,
): TokenIds {
  if (typeof prompt !== 'string') {
    checkIds('generate', prompt, vocabSize)
    return prompt
  }
  if (!tokenizer)
    badOption('generate', 'prompt', 'token ids, since this model has no tokenizer', prompt)
  const ids = tokenizer.encode(prompt, { addSpecialTokens: !continues })
  if (ids.length === 0) badOption('generate', 'prompt', 'at least one token', prompt)
  checkIds('generate', ids, vocabSize)
  return ids
}

/**
 * Appends the prompt to `sequence`, then one sampled token after the other until the text ends.
 *
 * @param left  aborts, too
 * @param close called once, in the turn in which the work ends
 */
export function runGenerate(
  context: GenerateContext,
  sequence: SequenceState,
  prompt: string | TokenIds,
  options: GenerateOptions,
  emit: (chunk: GenerateChunk) => void,
  left: AbortSignal,
  close: (failed: boolean) => void,
): Promise<GenerateResult> {
  return new Promise((resolve, reject) => {
    checkOptions('generate', options)
    const routing = flagOption('generate', 'routing', options.routing)
    const before = sequence.ids.length
    const from = sequence.processed
    const ids = encode(prompt, before > 0, context)
    const limits = resolveLimits(options, before, ids.length, context)
    const { sampling, top, reserveTokens } = limits
    const signals = options.signal ? [options.signal, left] : [left]
    for (const signal of signals) signal.throwIfAborted()

    sequence.append(ids)
    const promptLength = sequence.ids.length
    const stream = context.tokenizer?.stream(ids.at(-1)!)
    const completion = new Completion(ids.length, limits, stream, emit)
    const trace = new TraceRows(context.numLayers)
    const end = (failed: boolean) => {
      for (const signal of signals) signal.removeEventListener('abort', onAbort)
      close(failed)
    }
    const job: Job = {
      sequence,
      reserveTokens,
      hiddenStates: false,
      routing,
      maxTokens: Number.POSITIVE_INFINITY,
      samples: true,
      usesHistory: usesHistory(sampling),
      outputs(_, last, ahead) {
        const step = completion.ids.length + Number(ahead)
        return { logitRows: 0, sample: last ? { sampling, step, promptLength, top } : undefined }
      },
      onResult(result, numTokens) {
        const skip = Math.min(numTokens, Math.max(0, from - (sequence.cached - numTokens)))
        if (routing) trace.add({ routing: result.routing ?? [] }, skip, numTokens)
        if (!result.sampled) return true
        const more = completion.accept(result.sampled)
        sequence.append(completion.ids.slice(sequence.ids.length - promptLength))
        if (more) return true
        end(false)
        resolve({ ...completion.result(), ...(routing && { routing: trace.routing() }) })
        return false
      },
      onError(error) {
        end(true)
        reject(error)
      },
    }
    function onAbort(this: AbortSignal): void {
      context.scheduler.abort(job, this.reason)
    }
    try {
      context.scheduler.submit(job)
      for (const signal of signals) signal.addEventListener('abort', onAbort, { once: true })
    } catch (error) {
      job.onError(error)
    }
  })
}
