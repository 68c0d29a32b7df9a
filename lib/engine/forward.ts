import { badOption, checkOptions, MoeError } from '../errors.ts'
import type { ModelConfig } from '../models/config.ts'
import type { Job, Scheduler } from './scheduler.ts'
import type { SequenceState } from './sequence_state.ts'
import type { SliceResult } from './slice.ts'

/** What a forward pass is to return. */
export interface ForwardOptions {
  /** Logits of all positions, of the last one, or none. Default `last`. */
  logits?: 'all' | 'last' | 'none' | undefined
  /** Also every layer's output. */
  hiddenStates?: boolean | undefined
  /** Also every layer's expert choice. */
  routing?: boolean | undefined
  /** Aborts the pass; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** One layer's expert choice, row-major. */
export interface LayerRouting {
  /** [tokens, topK], best first */
  expertIds: Int32Array
  /** [tokens, topK] */
  weights: Float32Array
  /** [tokens, experts], before softmax and norm; for MoE++ the accumulated logits that are carried on */
  logits: Float32Array
}

export interface ForwardResult {
  /** [tokens, vocabulary] for `all`, [vocabulary] for `last`, empty for `none` */
  logits: Float32Array
  /** One [tokens, hidden] a layer: its output. With `hiddenStates`. */
  hiddenStates?: Float32Array[]
  /** One a layer. With `routing`. */
  routing?: LayerRouting[]
}

/** Token ids as callers may give them. */
export type TokenIds = readonly number[] | Int32Array | Uint32Array

/** Keeps one step's logits few enough for the JavaScript thread to copy in a few milliseconds. */
const maxReadBytes = 16 << 20
/** Hidden states are copied layer by layer. */
const maxTraceBytes = 8 * maxReadBytes
/** Tokens whose rows of `width` numbers are that many bytes. */
const tokensThatFit = (bytes: number, width: number) => Math.max(1, Math.floor(bytes / (4 * width)))

/** Checks ids against the vocabulary. */
export function checkIds(where: string, ids: unknown, vocabSize: number): asserts ids is TokenIds {
  if (!Array.isArray(ids) && !(ids instanceof Int32Array) && !(ids instanceof Uint32Array))
    badOption(where, 'ids', 'an array of token ids', ids)
  if (ids.length === 0) badOption(where, 'ids', 'at least one token', 'none')
  for (let i = 0; i < ids.length; i++) {
    const id: unknown = ids[i]
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize)
      badOption(where, `ids[${i}]`, `a token id from 0 to ${vocabSize - 1}`, id)
  }
}

/** Checks the options of a forward pass. */
export function checkForwardOptions(
  options: ForwardOptions,
): Required<Pick<ForwardOptions, 'logits'>> & ForwardOptions {
  checkOptions('forward', options)
  const { logits = 'last' } = options
  if (!['all', 'last', 'none'].includes(logits))
    badOption('forward', 'logits', "'all', 'last' or 'none'", logits)
  return { ...options, logits }
}

/** Joins the pieces that one job's steps return. */
export class Rows {
  readonly #pieces: { [key: string]: (Float32Array | Int32Array)[] } = {}

  add(key: string, piece: Float32Array | Int32Array, skipRows: number, rows: number): void {
    const width = piece.length / rows
    const wanted = piece.subarray(skipRows * width)
    const pieces = this.#pieces[key]
    if (pieces) pieces.push(wanted)
    else this.#pieces[key] = [wanted]
  }

  join<T extends Float32Array | Int32Array>(key: string, type: new (n: number) => T): T {
    const pieces = (this.#pieces[key] ?? []) as T[]
    // A copy also where there is one piece: it may be a view of a whole batch's memory.
    const out = new type(pieces.reduce((n, piece) => n + piece.length, 0))
    let at = 0
    for (const piece of pieces) {
      out.set(piece as Float32Array & Int32Array, at)
      at += piece.length
    }
    return out
  }
}

/** Collects hidden states and routing over the steps of a job. */
export class TraceRows {
  readonly #rows = new Rows()
  readonly #numLayers: number

  constructor(numLayers: number) {
    this.#numLayers = numLayers
  }

  add({ hiddenStates, routing }: SliceResult, skip: number, rows: number): void {
    for (const [l, layer] of (hiddenStates ?? []).entries())
      this.#rows.add(`hidden ${l}`, layer, skip, rows)
    for (const [l, layer] of (routing ?? []).entries())
      for (const key of ['expertIds', 'weights', 'logits'] as const)
        this.#rows.add(`${key} ${l}`, layer[key], skip, rows)
  }

  hiddenStates(): Float32Array[] {
    return Array.from({ length: this.#numLayers }, (_, l) =>
      this.#rows.join(`hidden ${l}`, Float32Array),
    )
  }

  routing(): LayerRouting[] {
    return Array.from({ length: this.#numLayers }, (_, l) => ({
      expertIds: this.#rows.join(`expertIds ${l}`, Int32Array),
      weights: this.#rows.join(`weights ${l}`, Float32Array),
      logits: this.#rows.join(`logits ${l}`, Float32Array),
    }))
  }
}

/**
 * Runs the tokens of `sequence` that are not cached yet. Tokens before `from` were computed before and are
 * computed again only for the cache; the result leaves them out.
 */
export function runForward(
  scheduler: Scheduler,
  config: ModelConfig,
  sequence: SequenceState,
  from: number,
  options: ForwardOptions,
): Promise<ForwardResult> {
  const { logits, hiddenStates = false, routing = false, signal } = checkForwardOptions(options)
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const rows = new Rows()
    const trace = new TraceRows(config.numLayers)
    const settle = (finish: () => void) => {
      signal?.removeEventListener('abort', onAbort)
      finish()
    }
    const finish = () => {
      const result: ForwardResult = { logits: rows.join('logits', Float32Array) }
      if (hiddenStates) result.hiddenStates = trace.hiddenStates()
      if (routing) result.routing = trace.routing()
      resolve(result)
    }
    const job: Job = {
      sequence,
      room: sequence.ids.length,
      runsAhead: false,
      hiddenStates,
      routing,
      maxTake: Math.min(
        logits === 'all' ? tokensThatFit(maxReadBytes, config.vocabSize) : Number.POSITIVE_INFINITY,
        hiddenStates
          ? tokensThatFit(maxTraceBytes, config.numLayers * config.hiddenSize)
          : Number.POSITIVE_INFINITY,
      ),
      slice: (take, last) => ({
        logitRows: logits === 'all' ? take : logits === 'last' && last ? 1 : 0,
      }),
      onResult(result, take) {
        const first = sequence.cached - take
        const skip = Math.min(take, Math.max(0, from - first))
        if (result.logits)
          rows.add(
            'logits',
            result.logits,
            logits === 'all' ? skip : 0,
            logits === 'all' ? take : 1,
          )
        trace.add(
          hiddenStates || routing ? pickTrace(result, hiddenStates, routing) : {},
          skip,
          take,
        )
        if (sequence.cached < sequence.ids.length) return true
        settle(finish)
        return false
      },
      onError: (error) => settle(() => reject(error)),
    }
    const onAbort = () => scheduler.abort(job, signal!.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    scheduler.submit(job)
  })
}

/** Other jobs of the step may have asked for more than this one. */
function pickTrace(result: SliceResult, hiddenStates: boolean, routing: boolean): SliceResult {
  return {
    ...(hiddenStates && result.hiddenStates && { hiddenStates: result.hiddenStates }),
    ...(routing && result.routing && { routing: result.routing }),
  }
}

/** Throws ERR_MOE_DISPOSED. */
export function disposed(what: string): never {
  throw new MoeError('ERR_MOE_DISPOSED', `${what}: must not be used after dispose()`)
}
