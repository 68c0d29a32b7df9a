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
  /** What the next `take` tokens are to yield; `last`: no more tokens wait behind them. */
  slice(take: number, last: boolean): Omit<Slice, 'sequence' | 'take'>
  /** Most tokens of one step that this job wants, for instance because it reads large logits. */
  maxTake: number
  /** Gets a step's results, `sequence.cached` already past it; false when the job is done. */
  onResult(result: SliceResult, take: number): boolean
  onError(error: unknown): void
  signal?: AbortSignal | undefined
}

/**
 * Shares steps among all jobs that wait: whoever waits is in the next step, decode tokens first, then prompts
 * in order of arrival, up to the runner's limit. A job starts when the cache has room for all it may need, so
 * that started jobs never wait for each other.
 */
export class Scheduler {
  readonly #runner: StepRunner
  readonly #pool: BlockPool
  readonly #waiting: Job[] = []
  readonly #active: Job[] = []
  #running: Promise<void> | undefined
  #cancel: CancelToken | undefined
  #inStep: Job[] = []
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
    this.#running ??= this.#loop()
  }

  /** Drops a job; when it is alone in the step that runs, the step ends at the next op. */
  abort(job: Job, reason: unknown): void {
    if (!this.#remove(job)) return
    if (this.#inStep.length === 1 && this.#inStep[0] === job) this.#cancel?.cancel()
    job.onError(reason)
  }

  /** Whether the sequence is in a job that is not done. */
  busy(sequence: SequenceState): boolean {
    return [...this.#waiting, ...this.#active, ...this.#inStep].some(
      (job) => job.sequence === sequence,
    )
  }

  /** Ends all jobs with ERR_MOE_DISPOSED and resolves when the last step has ended. */
  async dispose(): Promise<void> {
    this.#disposed = true
    this.#cancel?.cancel()
    for (const job of [...this.#active, ...this.#waiting]) {
      this.#remove(job)
      job.onError(new MoeError('ERR_MOE_DISPOSED', 'model: must not be disposed while a call runs'))
    }
    await this.#running
  }

  #remove(job: Job): boolean {
    for (const list of [this.#active, this.#waiting]) {
      const at = list.indexOf(job)
      if (at >= 0) return list.splice(at, 1).length > 0
    }
    return false
  }

  async #loop(): Promise<void> {
    await undefined // callers of the same turn share the first step
    while (!this.#disposed && this.#active.length + this.#waiting.length > 0) {
      this.#admit()
      const batch = this.#compose()
      if (batch.length > 0) await this.#step(batch)
    }
    this.#running = undefined // in the same turn as the last look at the queues
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

  #compose(): { job: Job; take: number }[] {
    const pending = (job: Job) => job.sequence.ids.length - job.sequence.cached
    const order = [...this.#active].sort((a, b) => Number(pending(a) > 1) - Number(pending(b) > 1))
    const batch: { job: Job; take: number }[] = []
    let left = this.#runner.maxTokens
    for (const job of order) {
      const take = Math.min(pending(job), job.maxTake, left)
      if (take === 0) break
      batch.push({ job, take })
      left -= take
    }
    return batch
  }

  async #step(batch: { job: Job; take: number }[]): Promise<void> {
    const jobs = batch.map(({ job }) => job)
    const slices = batch.map(({ job, take }): Slice => {
      const { sequence } = job
      return { sequence, take, ...job.slice(take, sequence.cached + take === sequence.ids.length) }
    })
    const want = {
      hiddenStates: jobs.some((job) => job.hiddenStates),
      routing: jobs.some((job) => job.routing),
    }
    this.#inStep = jobs
    this.#cancel = new (native().CancelToken)()
    try {
      const results = await this.#runner.run(slices, want, this.#cancel)
      for (const [i, { job, take }] of batch.entries()) {
        if (!this.#active.includes(job)) {
          job.sequence.distrustLastBlock() // aborted meanwhile
          continue
        }
        job.sequence.cached += take
        let more = false
        try {
          more = job.onResult(results[i]!, take)
        } catch (error) {
          job.onError(error)
        }
        if (!more) this.#remove(job)
      }
    } catch (error) {
      for (const job of jobs) {
        job.sequence.distrustLastBlock()
        if (this.#remove(job)) job.onError(error)
      }
    } finally {
      this.#inStep = []
      this.#cancel = undefined
    }
  }
}

function contextFull(available: number, wanted: number): MoeError {
  return new MoeError(
    'ERR_MOE_CONTEXT_FULL',
    `cache: tokens must be at most ${available} (option maxTokens of loadModel), got ${wanted}`,
  )
}
