import { onAbort } from '../aborts.ts'
import { notFinite } from '../errors.ts'
import type { LayerInfo } from '../layers/step.ts'
import type { ModelConfig } from '../models/config.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, flagOption, nameOption, signalOption, textOption } from '../options.ts'
import type { ChunkResult } from './chunk.ts'
import { type ExpertAdjust, type LayerExpertOptions, resolveExperts } from './experts.ts'
import type { Job } from './job.ts'
import type { Scheduler } from './scheduler.ts'
import type { SequenceState } from './sequence_state.ts'
import { type LayerRouting, Rows, TraceRows } from './trace.ts'

/** What a forward pass is to return. */
export interface ForwardOptions {
  /** Logits of all positions, of the last one, or none. Default `last`. */
  logits?: 'all' | 'last' | 'none' | undefined
  /** Also every layer's output. */
  hiddenStates?: boolean | undefined
  /** Also every layer's expert choice. */
  routing?: boolean | undefined
  /** Experts to disable, favour or force for the tokens that this call adds. */
  experts?: LayerExpertOptions | undefined
  /**
   * Rejects with ERR_MOE_NUMERIC, naming the position, where a logit or hidden state that is returned is NaN or
   * infinite; with `logits: 'none'`, also where one of the last position's logits is. Default false.
   */
  checkNumerics?: boolean | undefined
  /** Name of a LoRA adapter that `loadAdapter` has loaded. Default: none. */
  adapter?: string | undefined
  /** Aborts the pass; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What one pass over a sequence gives. T tokens are those of the call. */
export interface ForwardResult {
  /** [tokens, vocabulary] for `all`, [vocabulary] for `last`, empty for `none` */
  logits: Float32Array
  /** One [tokens, hidden] a layer: its output. With `hiddenStates`. */
  hiddenStates?: Float32Array[]
  /** One a layer, undefined for a layer without a router. With `routing`. */
  routing?: (LayerRouting | undefined)[]
}

/** Keeps one step's logits few enough for the JavaScript thread to copy in a few milliseconds. */
const maxReadBytes = 16 << 20
/** Hidden states are copied layer by layer. */
const maxTraceBytes = 8 * maxReadBytes
/** Tokens whose rows of `width` numbers are that many bytes. */
const tokensThatFit = (bytes: number, width: number) => Math.max(1, Math.floor(bytes / (4 * width)))

/** Complete and valid. */
export interface ForwardRequest {
  logits: 'all' | 'last' | 'none'
  hiddenStates: boolean
  routing: boolean
  experts: ExpertAdjust
  checkNumerics: boolean
  adapter: string | undefined
  signal: AbortSignal | undefined
}

const optionNames: OptionNames<ForwardOptions> = {
  ...{ logits: true, hiddenStates: true, routing: true, experts: true },
  ...{ checkNumerics: true, adapter: true, signal: true },
}

/** Checks the options of a forward pass and fills in the defaults. */
export function resolveForwardOptions(
  options: ForwardOptions,
  layers: readonly LayerInfo[],
): ForwardRequest {
  checkOptions('forward', options, optionNames)
  const { logits = 'last', hiddenStates, routing, experts, checkNumerics, signal } = options
  const { adapter } = options
  return {
    logits: nameOption('forward', 'logits', logits, ['all', 'last', 'none']),
    hiddenStates: flagOption('forward', 'hiddenStates', hiddenStates),
    routing: flagOption('forward', 'routing', routing),
    experts: resolveExperts('forward', experts, layers),
    checkNumerics: flagOption('forward', 'checkNumerics', checkNumerics),
    adapter: textOption('forward', 'adapter', adapter),
    signal: signalOption('forward', signal),
  }
}

function maxTokensOfStep(config: ModelConfig, { logits, hiddenStates }: ForwardRequest): number {
  const { vocabSize, numLayers, hiddenSize } = config
  return Math.min(
    logits === 'all' ? tokensThatFit(maxReadBytes, vocabSize) : Number.POSITIVE_INFINITY,
    hiddenStates ? tokensThatFit(maxTraceBytes, numLayers * hiddenSize) : Number.POSITIVE_INFINITY,
  )
}

/**
 * Runs the tokens of `sequence` that are not cached yet. Tokens before `from` were computed before and are
 * computed again only for the cache; the result leaves them out.
 *
 * @param close called once, in the turn in which the work ends
 */
export function runForward(
  scheduler: Scheduler,
  config: ModelConfig,
  sequence: SequenceState,
  from: number,
  request: ForwardRequest,
  close: (failed: boolean) => void,
): Promise<ForwardResult> {
  return new Promise((resolve, reject) => {
    const { logits, hiddenStates, routing, experts, checkNumerics, signal } = request
    const readsLast = logits === 'last' || (logits === 'none' && checkNumerics)
    const rows = new Rows()
    const trace = new TraceRows(config.numLayers)
    let seen = from
    let forget: (() => void) | undefined
    const end = (failed: boolean) => {
      forget?.()
      close(failed)
    }
    const checkFinite = (result: ChunkResult, numTokens: number) => {
      const last = sequence.cached - 1
      for (const [l, states] of (hiddenStates ? (result.hiddenStates ?? []) : []).entries())
        checkRows(`hidden states of layer ${l}`, states, numTokens, last)
      if (result.logits) checkRows('logits', result.logits, logits === 'all' ? numTokens : 1, last)
    }
    const job: Job = {
      sequence,
      reserveTokens: sequence.ids.length,
      priority: 0,
      reuse: false,
      samples: false,
      ...{ usesHistory: false, waits: false },
      hiddenStates,
      routing,
      experts,
      maxTokens: maxTokensOfStep(config, request),
      outputs: (numTokens, last) => ({
        logitRows: logits === 'all' ? numTokens : readsLast && last ? 1 : 0,
      }),
      onResult(result, numTokens) {
        const first = sequence.cached - numTokens
        const skip = Math.min(numTokens, Math.max(0, seen - first))
        seen = Math.max(seen, sequence.cached)
        if (checkNumerics) checkFinite(result, numTokens)
        if (result.logits && logits === 'all') rows.add('logits', result.logits, skip, numTokens)
        if (result.logits && logits === 'last') rows.add('logits', result.logits, 0, 1)
        trace.add(pickTrace(result, hiddenStates, routing), skip, numTokens)
        if (sequence.cached < sequence.ids.length) return true
        end(false)
        resolve({
          logits: rows.join('logits', Float32Array),
          ...(hiddenStates && { hiddenStates: trace.hiddenStates() }),
          ...(routing && { routing: trace.routing() }),
        })
        return false
      },
      onError(error) {
        end(true)
        reject(error)
      },
    }
    try {
      signal?.throwIfAborted()
      scheduler.submit(job)
      forget = signal && onAbort(signal, () => scheduler.abort(job, signal.reason))
    } catch (error) {
      job.onError(error)
    }
  })
}

/** The rows of `values` are those of the positions that end with `last`. */
function checkRows(what: string, values: Float32Array, rows: number, last: number): void {
  const at = values.findIndex((value) => !Number.isFinite(value))
  if (at < 0) return
  const width = values.length / rows
  const position = last + 1 - rows + Math.floor(at / width)
  notFinite('forward', `${what} at position ${position}`, `${values[at]} at index ${at % width}`)
}

/** Other jobs of the step may have asked for more than this one. */
function pickTrace(result: ChunkResult, hiddenStates: boolean, routing: boolean): ChunkResult {
  return {
    ...(hiddenStates && result.hiddenStates && { hiddenStates: result.hiddenStates }),
    ...(routing && result.routing && { routing: result.routing }),
  }
}
