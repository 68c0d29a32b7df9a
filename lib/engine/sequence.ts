import { badOption } from '../errors.ts'
import type { ModelConfig } from '../models/config.ts'
import {
  checkForwardOptions,
  checkIds,
  disposed,
  type ForwardOptions,
  type ForwardResult,
  runForward,
  type TokenIds,
} from './forward.ts'
import type { Scheduler } from './scheduler.ts'
import type { SequenceState } from './sequence_state.ts'

/**
 * A text that keeps its place in the cache: feed it in chunks or token by token, fork it, cut it back.
 * Calls on one sequence run one after the other; calls on several share steps.
 */
export class Sequence {
  readonly #scheduler: Scheduler
  readonly #config: ModelConfig
  readonly #state: SequenceState
  readonly #onDispose: (sequence: Sequence) => void
  #last: Promise<unknown> = Promise.resolve()
  #disposed = false

  /** @internal use model.sequence() */
  constructor(
    scheduler: Scheduler,
    config: ModelConfig,
    state: SequenceState,
    onDispose: (sequence: Sequence) => void,
  ) {
    this.#scheduler = scheduler
    this.#config = config
    this.#state = state
    this.#onDispose = onDispose
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
   * Appends `ids` and runs them. When it fails or is aborted, the sequence is as it was before.
   *
   * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_CONTEXT_FULL, ERR_MOE_DISPOSED
   */
  forward(ids: TokenIds, options: ForwardOptions = {}): Promise<ForwardResult> {
    const run = this.#last.then(async () => {
      if (this.#disposed) disposed('sequence')
      checkIds('forward', ids, this.#config.vocabSize)
      checkForwardOptions(options)
      const before = this.#state.ids.length
      this.#state.append(ids)
      try {
        return await runForward(this.#scheduler, this.#config, this.#state, before, options)
      } catch (error) {
        this.#state.truncate(before)
        throw error
      }
    })
    this.#last = run.catch(() => {})
    return run
  }

  /** Another sequence with the same tokens; full cache blocks are shared, not copied. */
  fork(): Sequence {
    this.#checkIdle('fork')
    return new Sequence(this.#scheduler, this.#config, this.#state.fork(), this.#onDispose)
  }

  /** Forgets all but the first `length` tokens. */
  truncate(length: number): void {
    this.#checkIdle('truncate')
    if (!Number.isInteger(length) || length < 0 || length > this.length)
      badOption('truncate', 'length', `a whole number from 0 to ${this.length}`, length)
    this.#state.truncate(length)
  }

  /** Gives its cache blocks back. A second call does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    // A running call keeps its blocks until it has ended.
    void this.#last.then(() => this.#state.dispose())
    this.#onDispose(this)
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #checkIdle(where: string): void {
    if (this.#disposed) disposed('sequence')
    if (this.#scheduler.busy(this.#state)) badOption(where, 'sequence', 'idle', 'a running forward')
  }
}
