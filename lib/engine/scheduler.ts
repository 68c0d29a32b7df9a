import { disposed, MoeError } from '../errors.ts'
import { type CancelToken, native } from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import type { BlockPool } from './blocks.ts'
import { type ChunkOutputs, type ChunkResult, maxSequences, type ScheduledChunk } from './chunk.ts'
import type { ExpertAdjust } from './experts.ts'
import type { SequenceState } from './sequence_state.ts'
import type { StepRunner } from './step_runner.ts'

/** Work of one caller: tokens of one sequence, to be processed over one or more steps. */
export interface Job {
  sequence: SequenceState
  /** Tokens, in all, that the cache must have room for before the job starts. */
  reserveTokens: number
  hiddenStates: boolean
  routing: boolean
  experts: ExpertAdjust
  /**
   * Outputs wanted of the next `numTokens` tokens. `last`: they end the pending input. `ahead`: they follow a step
   * that has not ended.
   */
  outputs(numTokens: number, last: boolean, ahead: boolean): ChunkOutputs
  /** Samples one token after the other. */
  samples: boolean
  /** Sampling reads the text so far, so no step may follow before the sampled token is known. */
  usesHistory: boolean
  /** Most tokens of one step that this job wants, for instance because it reads large logits. */
  maxTokens: number
  /** Gets a step's results, the sequence already past it; false when the job is done. */
  onResult(result: ChunkResult, numTokens: number): boolean
  onError(error: unknown): void
}

/** Tokens that there is room for, and what sets their number. */
export interface Room {
  tokens: number
  setBy: string
}
const cacheOption = 'option maxTokens of loadModel'

type Batch = { job: Job; numTokens: number }[]

/** A step on its way. */
interface Running {
  batch: Batch
  cancel: CancelToken
  outcome: Promise<{ results: ChunkResult[] } | { error: unknown }>
  /** Resolves when the results have reached their jobs. */
  settled: Promise<void>
  settle(): void
}

/**
 * Shares steps among all jobs that wait: whoever waits is in the next step, decode tokens first, then prompts
 * in order of arrival, up to the runner's limit. A job starts when the cache has room for all it may need, so
 * that started jobs never wait for each other's blocks.
 *
 * Scheduling is asynchronous: while nobody comes or goes, the step after the one that runs is already asked for,
 * with the tokens that one will sample, so the device never waits for JavaScript. When a text then ends, what was
 * computed ahead of it is dropped.
 */
export class Scheduler {
  readonly #runner: StepRunner
  readonly #pool: BlockPool
  readonly #waiting: Job[] = []
  readonly #active: Job[] = []
  readonly #steps = new Set<Running>()
  /** The longest text that can be. */
  readonly room: Room
  #loop: Promise<void> | undefined
  #disposed = false

  /** @param longestText tokens of one text that the model's positions hold for */
  constructor(runner: StepRunner, pool: BlockPool, longestText: number) {
    this.#runner = runner
    this.#pool = pool
    const tokens = pool.size * blockTokens
    this.room =
      tokens <= longestText
        ? { tokens, setBy: cacheOption }
        : { tokens: longestText, setBy: 'original_max_position_embeddings of config.json' }
  }

  /** Queues a job. Its signal, the scheduler's end and failures reach it through `onError`. */
  submit(job: Job): void {
    if (this.#disposed) disposed('model')
    if (job.reserveTokens > this.room.tokens) throw contextFull(this.room, job.reserveTokens)
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

  /** Resolves when no step has the sequence any more, such as one that ran ahead of the end of its text. */
  async idle(sequence: SequenceState): Promise<void> {
    for (const { batch, settled } of this.#steps)
      if (batch.some(({ job }) => job.sequence === sequence)) await settled
  }

  /** Ends all jobs with ERR_MOE_DISPOSED and resolves when the last step has ended. */
  async dispose(): Promise<void> {
    this.#disposed = true
    this.#failAll(new MoeError('ERR_MOE_DISPOSED', 'model: must not be disposed while a call runs'))
    this.#cancelUnwanted()
    await this.#loop
  }

  #failAll(error: unknown): void {
    for (const job of [...this.#active.splice(0), ...this.#waiting.splice(0)]) job.onError(error)
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
    let step = this.#try(() => this.#next())
    while (step) {
      const running = step
      const ahead = this.#try(() => this.#ahead(running))
      this.#settle(running, await running.outcome)
      step = ahead ?? this.#try(() => this.#next())
    }
    this.#loop = undefined // in the same turn as the last look at the queues
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

  #next(): Running | undefined {
    while (!this.#disposed && this.#active.length + this.#waiting.length > 0) {
      this.#admit()
      const batch = this.#compose()
      if (batch.length > 0) return this.#start(batch, false)
    }
    return undefined
  }

  /** The step behind one that samples for everybody. */
  #ahead({ batch }: Running): Running | undefined {
    if (this.#disposed) return undefined
    this.#admit()
    if (this.#active.length !== batch.length) return undefined
    for (const { job, numTokens } of batch) {
      const { ids, cached } = job.sequence
      const samples =
        job.samples && cached + numTokens === ids.length && ids.length < job.reserveTokens
      if (job.usesHistory || !samples || !this.#active.includes(job)) return undefined
    }
    return this.#start(
      batch.map(({ job }) => ({ job, numTokens: 1 })),
      true,
    )
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#active.length < maxSequences) {
      const job = this.#waiting[0]!
      const { sequence, reserveTokens } = job
      if (!sequence.reserve(reserveTokens)) {
        if (this.#active.length > 0) return // one of those will free its blocks
        this.#waiting.shift()
        const free = { tokens: this.#pool.free * blockTokens, setBy: cacheOption }
        job.onError(contextFull(free, sequence.missingBlocks(reserveTokens) * blockTokens))
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
    let history = this.#pool.size * blockTokens // forks share blocks, so their texts may be longer together
    for (const job of order) {
      const numTokens = Math.min(pending(job), job.maxTokens, left)
      if (numTokens === 0) break
      const read = job.usesHistory ? job.sequence.ids.length : 0
      if (read > history) continue
      history -= read
      batch.push({ job, numTokens })
      left -= numTokens
    }
    return batch
  }

  #start(batch: Batch, ahead: boolean): Running {
    const jobs = batch.map(({ job }) => job)
    const chunks = batch.map(({ job, numTokens }): ScheduledChunk => {
      const { sequence } = job
      const last = ahead || sequence.cached + numTokens === sequence.ids.length
      const { experts } = job
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
    const step = { batch, cancel, outcome, settled, settle }
    this.#steps.add(step)
    return step
  }

  #settle(step: Running, outcome: Awaited<Running['outcome']>): void {
    this.#steps.delete(step)
    for (const [i, { job, numTokens }] of step.batch.entries()) {
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
      job.sequence.advance(numTokens)
      let more = false
      try {
        more = job.onResult(outcome.results[i]!, numTokens)
      } catch (error) {
        job.onError(error)
      }
      if (!more) this.#remove(job)
    }
    this.#cancelUnwanted()
    step.settle()
  }
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

function contextFull({ tokens, setBy }: Room, wanted: number): MoeError {
  return new MoeError(
    'ERR_MOE_CONTEXT_FULL',
    `cache: tokens must be at most ${tokens} (${setBy}), got ${wanted}`,
  )
}
