import { disposed, MoeError } from '../errors.ts'
import { type CancelToken, native } from '../native.ts'
import { type Batch, type BatchCounts, Batches, type BatchLimits } from './batches.ts'
import type { BlockCounts, BlockPool } from './blocks.ts'
import type { ChunkResult, ScheduledChunk } from './chunk.ts'
import type { Job, Room } from './job.ts'
import type { SequenceState } from './sequence_state.ts'
import type { StepRunner } from './step_runner.ts'

/** What steps are for: prompts and the like, texts that are being written, or both. */
export type StepKind = 'prefill' | 'decode' | 'mixed'

/** What a model is doing and has done. */
export interface ModelStats extends BatchCounts {
  /** Of the key/value cache. */
  blocks: BlockCounts
  /** Steps that have run. */
  steps: number
  /** The same by what they were for, with the milliseconds that they took. */
  stepsByKind: Record<StepKind, { steps: number; ms: number }>
  /** Tokens that steps have processed: of prompts and the like, and one at a time behind a text. */
  tokens: { prompt: number; decode: number }
  /** Milliseconds that the last step took, and `performance.now()` when it ended; undefined before the first. */
  lastStep: { ms: number; endedAt: number } | undefined
  /** `performance.now()` when the step that runs now began; undefined while none does. */
  stepBeganAt: number | undefined
}

/** A step on its way. */
interface Running {
  batch: Batch
  startedAt: number
  cancel: CancelToken
  outcome: Promise<{ results: ChunkResult[] } | { error: unknown }>
  /** Resolves when the results have reached their jobs. */
  settled: Promise<void>
  settle(): void
}

/**
 * Shares steps among all jobs, whom `Batches` chooses.
 *
 * Scheduling is asynchronous: while nobody comes or goes, the step after the one that runs is already asked for,
 * with the tokens that one will sample, so the device never waits for JavaScript. When a text then ends, what was
 * computed ahead of it is dropped. Nobody loses blocks while a step is under way.
 */
export class Scheduler {
  readonly #runner: Pick<StepRunner, 'run' | 'maxTokens'>
  readonly #pool: BlockPool
  readonly #batches: Batches
  readonly #steps = new Set<Running>()
  #loop: Promise<void> | undefined
  #disposed = false
  #numSteps = 0
  readonly #stepsByKind = {
    prefill: { steps: 0, ms: 0 },
    decode: { steps: 0, ms: 0 },
    mixed: { steps: 0, ms: 0 },
  }
  readonly #tokens = { prompt: 0, decode: 0 }
  #lastStep: ModelStats['lastStep']

  constructor(
    runner: Pick<StepRunner, 'run' | 'maxTokens'>,
    pool: BlockPool,
    limits: Omit<BatchLimits, 'maxTokens'>,
  ) {
    this.#runner = runner
    this.#pool = pool
    this.#batches = new Batches(pool, { ...limits, maxTokens: runner.maxTokens })
  }

  /** The longest text that can be. */
  get room(): Room {
    return this.#batches.room
  }

  get stats(): ModelStats {
    const [began] = this.#steps
    return {
      ...this.#batches.counts,
      blocks: this.#pool.counts,
      steps: this.#numSteps,
      stepsByKind: structuredClone(this.#stepsByKind),
      tokens: { ...this.#tokens },
      lastStep: this.#lastStep && { ...this.#lastStep },
      stepBeganAt: began && this.#beganAt(began),
    }
  }

  /** Queues a job. Its signal, the scheduler's end and failures reach it through `onError`. */
  submit(job: Job): void {
    if (this.#disposed) disposed('model')
    this.#batches.add(job)
    this.#loop ??= this.#run()
  }

  /** Drops a job. */
  abort(job: Job, reason: unknown): void {
    if (!this.#batches.remove(job)) return
    this.#cancelUnwanted()
    job.onError(reason)
  }

  /** Takes a job out that needs no more steps. */
  finish(job: Job): void {
    if (this.#batches.remove(job)) this.#cancelUnwanted()
  }

  /** A step that nobody waits for any more ends at its next op. */
  #cancelUnwanted(): void {
    for (const { batch, cancel } of this.#steps)
      if (!batch.some(({ job }) => this.#batches.active(job))) cancel.cancel()
  }

  /** Resolves when no step has the sequence any more, such as one that ran ahead of the end of its text. */
  async idle(sequence: SequenceState): Promise<void> {
    for (const { batch, settled } of this.#steps)
      if (batch.some(({ job }) => job.sequence === sequence)) await settled
  }

  /** Resolves when the steps have ended that are under way now. */
  async settled(): Promise<void> {
    await Promise.all([...this.#steps].map(({ settled }) => settled))
  }

  /** Ends all jobs with ERR_MOE_DISPOSED and resolves when the last step has ended. */
  async dispose(): Promise<void> {
    this.#disposed = true
    this.#failAll(new MoeError('ERR_MOE_DISPOSED', 'model: must not be disposed while a call runs'))
    this.#cancelUnwanted()
    await this.#loop
  }

  #failAll(error: unknown): void {
    for (const job of this.#batches.drain()) job.onError(error)
  }

  async #run(): Promise<void> {
    await undefined // callers of the same turn share the first step
    let step: Running | undefined
    while (step || !this.#done) {
      step ??= await this.#nextReady()
      if (!step) continue
      const running = step
      step = this.#try(() => this.#ahead(running))
      this.#settle(running, await running.outcome)
    }
    this.#loop = undefined // in the same turn as the last look at the queues
  }

  get #done(): boolean {
    return this.#disposed || this.#batches.empty
  }

  /** A step that cannot be made, as without memory for it, fails whoever waits: no job is left without an answer. */
  #try(make: () => Running | undefined): Running | undefined {
    try {
      return make()
    } catch (error) {
      this.#failAll(error)
      return undefined
    }
  }

  /** The next step: with those that are ready in a moment; when nobody is, with who is first. */
  async #nextReady(): Promise<Running | undefined> {
    for (let settled = false; !this.#done; ) {
      const { unready } = this.#batches
      if (unready.length > 0) await Promise.race([Promise.all(unready), patience()])
      const step = this.#try(() => this.#next(settled))
      if (step) return step
      const { unready: still } = this.#batches
      if (still.length > 0) await Promise.race(still)
      else {
        await turn()
        settled = true
      }
    }
    return undefined
  }

  #next(settled: boolean): Running | undefined {
    const batch = this.#disposed ? [] : this.#batches.next(settled)
    return batch.length > 0 ? this.#start(batch, false) : undefined
  }

  #ahead({ batch }: Running): Running | undefined {
    const next = this.#disposed ? undefined : this.#batches.ahead(batch)
    return next && this.#start(next, true)
  }

  #start(batch: Batch, ahead: boolean): Running {
    const jobs = batch.map(({ job }) => job)
    const chunks = batch.map(({ job, numTokens }): ScheduledChunk => {
      const { sequence } = job
      const last = ahead || sequence.cached + numTokens === sequence.ids.length
      // Behind a step that has not ended, the token is one that the job will append.
      const experts = ahead ? job.experts : sequence.alike(numTokens).experts
      return { sequence, numTokens, experts, ahead, ...job.outputs(numTokens, last, ahead) }
    })
    const want = {
      hiddenStates: jobs.some((job) => job.hiddenStates),
      routing: jobs.some((job) => job.routing),
    }
    const cancel = new (native().CancelToken)()
    const outcome = this.#runner.run(chunks, want, cancel).then(
      (results) => ({ results }),
      (error: unknown) => ({ error }),
    )
    const { promise: settled, resolve: settle } = deferred()
    const step = { batch, cancel, outcome, settled, settle, startedAt: performance.now() }
    this.#steps.add(step)
    return step
  }

  #settle(step: Running, outcome: Awaited<Running['outcome']>): void {
    this.#steps.delete(step)
    this.#count(step)
    for (const [i, { job, numTokens }] of step.batch.entries()) {
      if (!this.#batches.active(job)) {
        job.sequence.distrustLastBlock() // ended or aborted meanwhile
        continue
      }
      if ('error' in outcome) {
        job.sequence.distrustLastBlock()
        this.#batches.remove(job)
        job.onError(outcome.error)
        continue
      }
      job.sequence.advance(numTokens)
      job.sequence.commit()
      let more = false
      try {
        more = job.onResult(outcome.results[i]!, numTokens)
      } catch (error) {
        job.onError(error)
      }
      if (!more) this.#batches.remove(job)
    }
    this.#cancelUnwanted()
    step.settle()
  }

  /** One that was asked for early begins when the one before it has ended. */
  #beganAt({ startedAt }: Running): number {
    return Math.max(startedAt, this.#lastStep?.endedAt ?? 0)
  }

  #count(step: Running): void {
    const { batch } = step
    const endedAt = performance.now()
    const ms = endedAt - this.#beganAt(step)
    this.#lastStep = { ms, endedAt }
    this.#numSteps++
    const all = batch.reduce((n, { numTokens }) => n + numTokens, 0)
    const writes = batch.filter(({ job, numTokens }) => job.samples && numTokens === 1).length
    this.#tokens.decode += writes
    this.#tokens.prompt += all - writes
    const kind = writes === 0 ? 'prefill' : writes === all ? 'decode' : 'mixed'
    this.#stepsByKind[kind].steps++
    this.#stepsByKind[kind].ms += ms
    this.#batches.measured(batch, ms)
  }
}

/** Milliseconds that others wait for those whose next token is not chosen from yet. */
const patienceMs = 5
const patience = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, patienceMs))

/** What calls that have ended still do, such as give blocks back. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
