import { MoeError } from '../errors.ts'
import { type CancelToken, native } from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import type { BlockPool } from './blocks.ts'
import type { SequenceState } from './sequence_state.ts'
import { maxSequences, type Slice, type SliceResult } from './slice.ts'
import type { StepRunner } from './step.ts'

/** Work of one caller: tokens of one sequence, to be processed over one or more steps. */
export interface Job {
  sequence: SequenceState
  /** Tokens, in all, that the cache must have room for before the job starts. */
  room: number
  hiddenStates: boolean
  routing: boolean
  /**
   * What the next `take` tokens are to yield; `last`: no more tokens wait behind them; `ahead`: they follow a
   * step that has not ended.
   */
  slice(take: number, last: boolean, ahead: boolean): Omit<Slice, 'sequence' | 'take' | 'ahead'>
  /** Whether a step may follow one that draws before its token is known. */
  runsAhead: boolean
  /** Most tokens of one step that this job wants, for instance because it reads large logits. */
  maxTake: number
  /** Gets a step's results, `sequence.cached` already past it; false when the job is done. */
  onResult(result: SliceResult, take: number): boolean
  onError(error: unknown): void
  signal?: AbortSignal | undefined
}

type Batch = { job: Job; take: number }[]

/** A step on its way. */
interface Running {
  batch: Batch
  cancel: CancelToken
  outcome: Promise<{ results: SliceResult[] } | { error: unknown }>
}

/**
 * Shares steps among all jobs that wait: whoever waits is in the next step, decode tokens first, then prompts
 * in order of arrival, up to the runner's limit. A job starts when the cache has room for all it may need, so
 * that started jobs never wait for each other.
 *
 * While nobody comes or goes, the step after the one that runs is already asked for, with the tokens that one
 * will draw: the device never waits for JavaScript. When a text then ends, what was computed ahead of it is
 * dropped.
 */
export class Scheduler {
  readonly #runner: StepRunner
  readonly #pool: BlockPool
  readonly #waiting: Job[] = []
  readonly #active: Job[] = []
  readonly #steps = new Set<Running>()
  #loop: Promise<void> | undefined
  #disposed = false

  constructor(runner: StepRunner, pool: BlockPool) {
    this.#runner = runner
    this.#pool = pool
  }

  /** Queues a job. Its signal, the scheduler's end and failures reach it through `onError`. */
  submit(job: Job): void {
    const capacity = this.#pool.size * blockTokens
    if (job.room > capacity) {
      job.onError(contextFull(capacity, job.room))
      return
    }
    this.#waiting.push(job)
    this.#loop ??= this.#run()
  }

  /** Drops a job. */
  abort(job: Job, reason: unknown): void {
    if (!this.#remove(job)) return
    this.#cancelUnwanted()
    job.onError(reason)
  }

  /** A step that nobody waits for any more ends at its next op. */
  #cancelUnwanted(): void {
    for (const { batch, cancel } of this.#steps)
      if (!batch.some(({ job }) => this.#active.includes(job))) cancel.cancel()
  }

  /** Whether the sequence is in a job or a step that is not done. */
  busy(sequence: SequenceState): boolean {
    const running = [...this.#steps].flatMap(({ batch }) => batch.map(({ job }) => job))
    return [...this.#waiting, ...this.#active, ...running].some((job) => job.sequence === sequence)
  }

  /** Ends all jobs with ERR_MOE_DISPOSED and resolves when the last step has ended. */
  async dispose(): Promise<void> {
    this.#disposed = true
    for (const job of [...this.#active, ...this.#waiting]) {
      this.#remove(job)
      job.onError(new MoeError('ERR_MOE_DISPOSED', 'model: must not be disposed while a call runs'))
    }
    this.#cancelUnwanted()
    await this.#loop
  }

  #remove(job: Job): boolean {
    for (const list of [this.#active, this.#waiting]) {
      const at = list.indexOf(job)
      if (at >= 0) return list.splice(at, 1).length > 0
    }
    return false
  }

  async #run(): Promise<void> {
    await undefined // callers of the same turn share the first step
    let step = this.#next()
    while (step) {
      const ahead = this.#ahead(step)
      this.#settle(step, await step.outcome)
      step = ahead ?? this.#next()
    }
    this.#loop = undefined // in the same turn as the last look at the queues
  }

  #next(): Running | undefined {
    while (!this.#disposed && this.#active.length + this.#waiting.length > 0) {
      this.#admit()
      const batch = this.#compose()
      if (batch.length > 0) return this.#start(batch, false)
    }
    return undefined
  }

  /** The step behind one that draws for everybody. */
  #ahead({ batch }: Running): Running | undefined {
    if (this.#disposed) return undefined
    this.#admit()
    if (this.#active.length !== batch.length) return undefined
    for (const { job, take } of batch) {
      const { ids, cached } = job.sequence
      const draws = cached + take === ids.length && ids.length < job.room
      if (!job.runsAhead || !draws || !this.#active.includes(job)) return undefined
    }
    return this.#start(
      batch.map(({ job }) => ({ job, take: 1 })),
      true,
    )
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#active.length < maxSequences) {
      const job = this.#waiting[0]!
      if (!job.sequence.reserve(job.room)) {
        if (this.#active.length > 0) return // one of those will free its blocks
        this.#waiting.shift()
        job.onError(
          contextFull(
            this.#pool.free * blockTokens,
            job.sequence.missingBlocks(job.room) * blockTokens,
          ),
        )
        continue
      }
      this.#waiting.shift()
      this.#active.push(job)
    }
  }

  #compose(): Batch {
    const pending = (job: Job) => job.sequence.ids.length - job.sequence.cached
    const order = [...this.#active].sort((a, b) => Number(pending(a) > 1) - Number(pending(b) > 1))
    const batch: Batch = []
    let left = this.#runner.maxTokens
    for (const job of order) {
      const take = Math.min(pending(job), job.maxTake, left)
      if (take === 0) break
      batch.push({ job, take })
      left -= take
    }
    return batch
  }

  #start(batch: Batch, ahead: boolean): Running {
    const jobs = batch.map(({ job }) => job)
    const slices = batch.map(({ job, take }): Slice => {
      const { sequence } = job
      const last = ahead || sequence.cached + take === sequence.ids.length
      return { sequence, take, ahead, ...job.slice(take, last, ahead) }
    })
    const want = {
      hiddenStates: jobs.some((job) => job.hiddenStates),
      routing: jobs.some((job) => job.routing),
    }
    const cancel = new (native().CancelToken)()
    const outcome = this.#runner.run(slices, want, cancel).then(
      (results) => ({ results }),
      (error: unknown) => ({ error }),
    )
    const step = { batch, cancel, outcome }
    this.#steps.add(step)
    return step
  }

  #settle(step: Running, outcome: Awaited<Running['outcome']>): void {
    this.#steps.delete(step)
    for (const [i, { job, take }] of step.batch.entries()) {
      if (!this.#active.includes(job)) {
        job.sequence.distrustLastBlock() // ended or aborted meanwhile
        continue
      }
      if ('error' in outcome) {
        job.sequence.distrustLastBlock()
        this.#remove(job)
        job.onError(outcome.error)
        continue
      }
      job.sequence.cached += take
      let more = false
      try {
        more = job.onResult(outcome.results[i]!, take)
      } catch (error) {
        job.onError(error)
      }
      if (!more) this.#remove(job)
    }
    this.#cancelUnwanted()
  }
}

function contextFull(available: number, wanted: number): MoeError {
  return new MoeError(
    'ERR_MOE_CONTEXT_FULL',
    `cache: tokens must be at most ${available} (option maxTokens of loadModel), got ${wanted}`,
  )
}
