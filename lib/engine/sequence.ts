import { badOption, disposed } from '../errors.ts'
import type { ModelConfig } from '../models/config.ts'
import type { OptionNames } from '../option_names.ts'
import { numberOption, readIds, type TokenIds } from '../options.ts'
import type { GenerateOptions } from './completion.ts'
import {
  type ForwardOptions,
  type ForwardResult,
  resolveForwardOptions,
  runForward,
} from './forward.ts'
import {
  type GenerateContext,
  readPrompt,
  resolveGenerateOptions,
  runGenerate,
} from './generate.ts'
import { Generation } from './generation.ts'
import type { SequenceState } from './sequence_state.ts'

/** What a sequence needs of its model. */
export interface SequenceContext extends GenerateContext {
  config: ModelConfig
  /** Sequences that are not disposed. */
  sequences: Set<Sequence>
}

/** Options of `model.sequence`. */
export interface SequenceOptions {
  /** Name of a LoRA adapter that `loadAdapter` has loaded, for all tokens of the sequence. Default: none. */
  adapter?: string | undefined
}

export const sequenceOptionNames: OptionNames<SequenceOptions> = { adapter: true }

/** What is cached of a text was computed with one adapter. */
function ownAdapter(where: string, adapter: string | undefined): void {
  if (adapter !== undefined)
    badOption(
      where,
      'adapter',
      'absent for a sequence, which has that of model.sequence()',
      adapter,
    )
}

/**
 * A text that keeps its place in the cache: feed it in chunks or token by token, let the model continue it, fork
 * it, cut it back. Calls on one sequence run one after the other; calls on several share steps. A call that fails
 * or is aborted leaves the sequence as it was before.
 */
export class Sequence {
  readonly #context: SequenceContext
  readonly #state: SequenceState
  #last: Promise<unknown> = Promise.resolve()
  /** Calls that have not ended. */
  #calls = 0
  #disposed = false

  /** @internal use model.sequence() */
  constructor(context: SequenceContext, state: SequenceState) {
    this.#context = context
    this.#state = state
    context.sequences.add(this)
  }

  /** Tokens so far. */
  get length(): number {
    return this.#state.ids.length
  }

  /** The tokens so far, a copy. */
  get ids(): number[] {
    return [...this.#state.ids]
  }

  /**
   * Appends `ids` and runs them.
   *
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_CONTEXT_FULL, ERR_MOE_DISPOSED
   */
  async forward(ids: TokenIds, options: ForwardOptions = {}): Promise<ForwardResult> {
    this.#check()
    const { scheduler, config, vocabSize, layers } = this.#context
    const own = readIds('forward', ids, vocabSize)
    const request = resolveForwardOptions(options, layers)
    ownAdapter('forward', request.adapter)
    return this.#call((close) => {
      const before = this.#state.ids.length
      this.#state.append(own, request.experts)
      return runForward(scheduler, config, this.#state, before, request, close)
    })
  }

  /**
   * Appends a prompt and continues the text; what is cached is not computed again. The new tokens belong to the
   * sequence, the stop id that ended them does not. Otherwise as `model.generate`.
   *
   * ```ts
   * using chat = model.sequence()
   * for (const line of ['Hello!', 'And then?']) console.log((await chat.generate(line)).text)
   * ```
   *
   * @param prompt token ids, or text: with BOS only where it begins the sequence
   */
  generate(prompt: string | TokenIds, options: GenerateOptions = {}): Generation {
    return new Generation(async (emit, left) => {
      this.#check()
      const own = readPrompt(prompt, this.#context)
      const request = resolveGenerateOptions(options, this.#context)
      if (request.cacheSalt !== '')
        badOption('generate', 'cacheSalt', "'' for a sequence", request.cacheSalt)
      ownAdapter('generate', request.adapter)
      return this.#call((close) =>
        runGenerate(this.#context, this.#state, own, request, emit, left, close),
      )
    })
  }

  /** Runs `work` when the calls before it have ended; its end leaves no step that has this sequence. */
  #call<T>(work: (close: (failed: boolean) => void) => Promise<T>): Promise<T> {
    this.#calls++
    const run = this.#last.then(async () => {
      const { ids, processed } = this.#state
      const length = ids.length
      const close = (failed: boolean): void => {
        this.#state.truncate(failed ? length : ids.length) // also frees what was reserved in vain
        if (failed) this.#state.processed = processed
      }
      try {
        this.#check()
        return await work(close)
      } finally {
        await this.#context.scheduler.idle(this.#state)
        this.#calls--
      }
    })
    this.#last = run.catch(() => {})
    return run
  }

  /** Another sequence with the same tokens; full cache blocks are shared, not copied. */
  fork(): Sequence {
    this.#checkIdle('fork')
    return new Sequence(this.#context, this.#state.fork())
  }

  /** Forgets all but the first `length` tokens. */
  truncate(length: number): void {
    this.#checkIdle('truncate')
    numberOption('length', length, { min: 0, max: this.length, whole: true, where: 'truncate' })
    this.#state.truncate(length)
  }

  /** Gives its cache blocks back. A second call does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    // A running call keeps its blocks until it has ended.
    void this.#last.then(() => this.#state.dispose())
    this.#context.sequences.delete(this)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #check(): void {
    if (this.#disposed) disposed('sequence')
  }

  #checkIdle(where: string): void {
    this.#check()
    if (this.#calls > 0) badOption(where, 'sequence', 'idle', 'a running call')
  }
}
