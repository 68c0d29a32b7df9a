import { onAbort, withAny } from '../aborts.ts'
import type { Matchers } from '../constraints/matchers.ts'
import { badOption, MoeError, notFinite } from '../errors.ts'
import type { LayerInfo } from '../layers/step.ts'
import type { OptionNames } from '../option_names.ts'
import {
  checkOptions,
  flagOption,
  numberOption,
  readIds,
  signalOption,
  textOption,
} from '../options.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import type { CheckpointDefaults } from './checkpoint_defaults.ts'
import { Choice, type ChoiceRequest, readChoice } from './choice.ts'
import { maxLogprobs } from './chunk.ts'
import {
  Completion,
  type GenerateChunk,
  type GenerateOptions,
  type GenerateResult,
  type Limits,
} from './completion.ts'
import { type Ends, readEnds } from './ends.ts'
import { type ExpertAdjust, resolveExperts } from './experts.ts'
import type { Job, Room } from './job.ts'
import { PromptScores } from './prompt_scores.ts'
import { resolveMaxNewTokens, resolveSampling, usesHistory } from './sampling.ts'
import type { Scheduler } from './scheduler.ts'
import type { SequenceState } from './sequence_state.ts'
import { lastRow, TraceRows } from './trace.ts'

/** What a generation needs of its model. */
export interface GenerateContext {
  scheduler: Scheduler
  layers: readonly LayerInfo[]
  vocabSize: number
  stopIds: readonly number[]
  checkpointDefaults: CheckpointDefaults
  /** Grammars over the tokenizer's ids. */
  matchers: () => Matchers
  tokenizer: Tokenizer | undefined
}

/** What a caller asks for, read once and valid, but for how much of it fits the cache. */
export interface GenerateRequest extends Omit<Limits, 'reserveTokens'>, Ends {
  /** Best tokens to report beside each of the prompt. */
  promptLogprobs: number | undefined
  routing: boolean | 'new'
  priority: number
  cacheSalt: string
  adapter: string | undefined
  experts: ExpertAdjust
  choice: ChoiceRequest
  signal: AbortSignal | undefined
}

export const generateOptionNames: OptionNames<GenerateOptions> = {
  ...{ maxNewTokens: true, minNewTokens: true, stop: true, stopIds: true },
  ...{ temperature: true, topK: true, topP: true, minP: true },
  ...{ repetitionPenalty: true, presencePenalty: true, frequencyPenalty: true },
  ...{ seed: true, logitBias: true, allowedTokens: true, constraint: true },
  ...{ priority: true, cacheSalt: true, adapter: true },
  ...{ logprobs: true, promptLogprobs: true },
  routing: true,
  experts: true,
  signal: true,
}

/** Checks the options of a generation and fills in the defaults. */
export function resolveGenerateOptions(
  options: GenerateOptions,
  {
    checkpointDefaults: defaults,
    tokenizer,
    stopIds: modelStopIds,
    vocabSize,
    layers,
  }: Omit<GenerateContext, 'scheduler' | 'matchers'>,
): GenerateRequest {
  checkOptions('generate', options, generateOptionNames)
  const { logprobs, promptLogprobs, routing, experts, signal } = options
  const { priority, cacheSalt = '', adapter, allowedTokens, constraint } = options
  if (typeof cacheSalt !== 'string') badOption('generate', 'cacheSalt', 'a string', cacheSalt)
  if (defaults.unsupported !== undefined)
    throw new MoeError('ERR_MOE_UNSUPPORTED', defaults.unsupported)
  const best = { min: 0, max: maxLogprobs, whole: true }
  const maxNewTokens = resolveMaxNewTokens(options.maxNewTokens, defaults, promptLogprobs)
  const most = { min: 0, max: maxNewTokens, whole: true }
  return {
    sampling: resolveSampling(options, defaults, vocabSize),
    maxNewTokens,
    minNewTokens: numberOption('minNewTokens', options.minNewTokens ?? 0, most),
    ...readEnds(options, { tokenizer, vocabSize, stopIds: modelStopIds, stop: defaults.stop }),
    top: numberOption('logprobs', logprobs ?? 0, best),
    promptLogprobs:
      promptLogprobs === undefined
        ? undefined
        : numberOption('promptLogprobs', promptLogprobs, best),
    routing: routing === 'new' ? routing : flagOption('generate', 'routing', routing),
    priority: numberOption('priority', priority ?? 0, { whole: true }),
    cacheSalt,
    adapter: textOption('generate', 'adapter', adapter),
    experts: resolveExperts('generate', experts, layers),
    choice: readChoice(allowedTokens, constraint, vocabSize, tokenizer !== undefined),
    signal: signalOption('generate', signal),
  }
}

/** @param before tokens that the sequence has without the prompt */
function fitLimits(
  request: GenerateRequest,
  before: number,
  promptTokens: number,
  { tokens, setBy }: Room,
): Limits {
  const room = Math.max(0, tokens - before)
  if (promptTokens > room)
    throw new MoeError(
      'ERR_MOE_CONTEXT_FULL',
      `generate: prompt must be at most ${room} tokens (${setBy}), got ${promptTokens}`,
    )
  // The last new token is not processed any more, so it needs no room.
  const maxNewTokens = Math.min(request.maxNewTokens, room - promptTokens + 1)
  const processed = promptTokens + Math.max(0, maxNewTokens - 1)
  return { ...request, maxNewTokens, reserveTokens: before + processed }
}

/** Ids are checked and copied, text is left for when it is known what it follows. */
export function readPrompt(
  prompt: unknown,
  { tokenizer, vocabSize }: Pick<GenerateContext, 'tokenizer' | 'vocabSize'>,
): string | number[] {
  if (typeof prompt !== 'string') return readIds('generate', prompt, vocabSize)
  if (!tokenizer)
    badOption('generate', 'prompt', 'token ids, since this model has no tokenizer', prompt)
  return prompt
}

/** A text's ids; one that continues another gets no BOS. A long text does not block this thread. */
export async function encodePrompt(
  prompt: string,
  continues: boolean,
  { tokenizer, vocabSize }: Pick<GenerateContext, 'tokenizer' | 'vocabSize'>,
  signals: AbortSignal[],
): Promise<number[]> {
  const ids = await withAny(signals, (signal) =>
    tokenizer!.encodeAsync(prompt, { addSpecialTokens: !continues, signal }),
  )
  if (ids.length === 0) badOption('generate', 'prompt', 'at least one token', prompt)
  return readIds('generate', ids, vocabSize)
}

/** A grammar may have to be compiled, which nobody has to wait for who has gone. */
export function beginChoice(
  { choice, stopIds }: GenerateRequest,
  { matchers, vocabSize }: Pick<GenerateContext, 'matchers' | 'vocabSize'>,
  signals: AbortSignal[],
): Choice | Promise<Choice> {
  const ends = [...stopIds.keys()].filter((id) => id < vocabSize)
  if (choice.grammar === undefined) return new Choice(undefined, choice.allowed, vocabSize, ends)
  const matcher = matchers().begin(choice.grammar)
  const begun = matcher.then((made) => Choice.of(made, choice.allowed, vocabSize, ends))
  return withAny(signals, async (signal) => {
    const left = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
    })
    try {
      return await Promise.race([begun, left])
    } catch (error) {
      begun.then((late) => late.end()).catch(() => {})
      throw error
    }
  })
}

/** Logits of a step that are read for a prompt's tokens; the sampler takes twice as much beside them. */
const maxScoredBytes = 64 << 20
const scoredTokens = ({ vocabSize }: GenerateContext): number =>
  Math.max(1, Math.floor(maxScoredBytes / (4 * vocabSize)))

/** @throws {MoeError} ERR_MOE_OPTION for ids that are never drawn, so that nothing says how likely they are */
function checkScored(
  { promptLogprobs }: GenerateRequest,
  ids: readonly number[],
  { tokenizer, vocabSize }: GenerateContext,
): void {
  const vocabulary = Math.min(tokenizer?.size ?? vocabSize, vocabSize)
  const beyond = ids.find((id) => id >= vocabulary)
  if (promptLogprobs !== undefined && beyond !== undefined)
    badOption('generate', 'promptLogprobs', 'absent for a prompt with ids of no token', beyond)
}

/**
 * Appends the prompt to `sequence`, then one sampled token after the other until the text ends.
 *
 * @param left  aborts, too
 * @param close called once, in the turn in which the work ends
 */
export async function runGenerate(
  context: GenerateContext,
  sequence: SequenceState,
  prompt: string | number[],
  request: GenerateRequest,
  emit: (chunk: GenerateChunk) => void,
  left: AbortSignal,
  close: (failed: boolean) => void,
): Promise<GenerateResult> {
  const { scheduler } = context
  const { routing, promptLogprobs, experts, signal } = request
  const signals = signal ? [signal, left] : [left]
  const before = sequence.ids.length
  let traced = sequence.processed
  for (const signal of signals) signal.throwIfAborted()
  const ids =
    typeof prompt === 'string' ? await encodePrompt(prompt, before > 0, context, signals) : prompt
  for (const signal of signals) signal.throwIfAborted()
  const limits = fitLimits(request, before, ids.length, scheduler.room)
  checkScored(request, ids, context)
  const begun = beginChoice(request, context, signals)
  const choice = begun instanceof Choice ? begun : await begun
  return new Promise((resolve, reject) => {
    const { sampling, top, reserveTokens } = limits
    sequence.append(ids, experts)
    const promptLength = sequence.ids.length
    const stream = context.tokenizer?.stream(ids.at(-1)!)
    const completion = new Completion(ids.length, limits, stream, emit)
    const scores =
      promptLogprobs === undefined
        ? undefined
        : new PromptScores([...sequence.ids], before, promptLogprobs)
    const trace = new TraceRows(context.layers.length)
    let watched: (() => void)[] = []
    let ended = false
    const end = (failed: boolean) => {
      ended = true
      choice.end()
      for (const forget of watched) forget()
      close(failed)
    }
    const done = () => {
      end(false)
      resolve({
        ...completion.result(),
        ...(scores && { promptLogprobs: scores.all }),
        ...(routing && { routing: trace.routing() }),
      })
    }
    const choose = async (id: number) => {
      try {
        await choice.accept(id)
        job.ready = undefined
        if (!choice.whole || ended) return
        scheduler.finish(job)
        completion.finish()
        done()
      } catch (error) {
        scheduler.abort(job, error)
      }
    }
    const job: Job = {
      sequence,
      reserveTokens,
      priority: request.priority,
      reuse: routing !== true && !scores,
      hiddenStates: false,
      routing: routing !== false,
      experts,
      maxTokens: scores ? scoredTokens(context) : Number.POSITIVE_INFINITY,
      samples: true,
      usesHistory: usesHistory(sampling),
      waits: choice.constrained || scores !== undefined,
      outputs(numTokens, last, ahead) {
        const step = completion.ids.length + Number(ahead)
        const mask = step < limits.minNewTokens ? choice.maskWithoutEnds : choice.mask
        const sample = { sampling, step, promptLength, top, mask }
        return {
          logitRows: 0,
          ...(scores && !scores.done && { scores: scores.draws(sequence.cached, numTokens) }),
          sample: last ? sample : undefined,
        }
      },
      onStart() {
        completion.admittedAt ??= performance.now()
        completion.cachedTokens ??= Math.min(ids.length, Math.max(0, sequence.cached - before))
      },
      onResult(result, numTokens) {
        const known = routing === 'new' ? Math.max(traced, promptLength) : traced
        const skip = Math.min(numTokens, Math.max(0, known - (sequence.cached - numTokens)))
        if (routing) trace.add({ routing: result.routing ?? [] }, skip, numTokens)
        traced = Math.max(traced, sequence.cached)
        if (result.scored) scores?.add(result.scored)
        if (!result.sampled) return true
        if (limits.maxNewTokens === 0) {
          done()
          return false
        }
        job.waits = choice.constrained
        const { nonFinite } = result.sampled
        if (nonFinite >= 0) {
          const position = sequence.ids.length - 1
          const what = `logits at position ${position}`
          notFinite('generate', what, `NaN or infinity for token id ${nonFinite}`)
        }
        const row = routing ? lastRow(result.routing ?? [], numTokens) : undefined
        const more = completion.accept(result.sampled, row)
        sequence.append(completion.ids.slice(sequence.ids.length - promptLength), experts)
        if (more) {
          if (choice.constrained) job.ready = choose(result.sampled.id)
          return true
        }
        done()
        return false
      },
      onError(error) {
        end(true)
        reject(error)
      },
    }
    try {
      scheduler.submit(job)
      watched = signals.map((signal) => onAbort(signal, () => scheduler.abort(job, signal.reason)))
    } catch (error) {
      job.onError(error)
    }
  })
}
