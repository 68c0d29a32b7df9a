import { MoeError } from '../errors.ts'
import { blockTokens } from '../ops/index.ts'
import type { BlockPool } from './blocks.ts'
import { maxSequences } from './chunk.ts'
import type { Job, Room } from './job.ts'
import { PromptBudget, type PromptLimits } from './prompt_budget.ts'

export type Batch = { job: Job; numTokens: number }[]

const cacheOption = 'option maxTokens of loadModel'

export interface BatchLimits extends PromptLimits {
  /** Tokens of one text that the model's positions hold for. */
  longestText: number
  /** Jobs that may wait; more are refused. */
  maxWaiting: number
}

/** What has been done so far, in tokens unless said otherwise. */
export interface BatchCounts {
  /** Calls that take part in steps. */
  running: number
  /** Calls that wait for room. */
  waiting: number
  /** Of both together; more are refused. */
  maxCalls: number
  /** Jobs that made room for an older one. */
  preemptions: number
  /** Of prompts that may use what is cached, how many tokens they have and how many were cached. */
  prefix: { queries: number; hits: number }
}

const pending = ({ sequence }: Job): number => sequence.ids.length - sequence.cached

/**
 * Who is in the next step. A job starts when what it has to read fits the cache, and takes blocks as it grows. Where
 * there are none left the newest job makes room: its blocks are given back, and it is computed again when there is
 * room. The oldest never has to, and fits alone, so everybody gets there.
 */
export class Batches {
  readonly #pool: BlockPool
  readonly #limits: BatchLimits
  /** The longest text that can be. */
  readonly room: Room
  readonly #waiting: Job[] = []
  readonly #active: Job[] = []
  readonly #arrivals = new WeakMap<Job, number>()
  #arrived = 0
  readonly #promptBudget: PromptBudget
  #preemptions = 0
  #queries = 0
  #hits = 0

  constructor(pool: BlockPool, limits: BatchLimits) {
    this.#pool = pool
    this.#limits = limits
    this.#promptBudget = new PromptBudget(limits)
    const tokens = pool.size * blockTokens
    const { longestText } = limits
    this.room =
      tokens <= longestText
        ? { tokens, setBy: cacheOption }
        : { tokens: longestText, setBy: 'original_max_position_embeddings of config.json' }
  }

  get empty(): boolean {
    return this.#active.length + this.#waiting.length === 0
  }

  get #maxCalls(): number {
    return this.#limits.maxWaiting + maxSequences
  }

  get counts(): BatchCounts {
    return {
      running: this.#active.length,
      waiting: this.#waiting.length,
      maxCalls: this.#maxCalls,
      preemptions: this.#preemptions,
      prefix: { queries: this.#queries, hits: this.#hits },
    }
  }

  /** @throws {MoeError} ERR_MOE_CONTEXT_FULL for a job that never fits, ERR_MOE_BUSY when too many wait */
  add(job: Job): void {
    if (job.reserveTokens > this.room.tokens) throw contextFull(this.room, job.reserveTokens)
    const most = this.#maxCalls
    const all = this.#waiting.length + this.#active.length
    if (all >= most)
      throw new MoeError(
        'ERR_MOE_BUSY',
        `model: calls at a time must be at most ${most} (option maxWaiting of loadModel), got ${all + 1}`,
      )
    this.#arrivals.set(job, this.#arrived++)
    this.#wait(job)
  }

  remove(job: Job): boolean {
    for (const list of [this.#active, this.#waiting]) {
      const at = list.indexOf(job)
      if (at >= 0) return list.splice(at, 1).length > 0
    }
    return false
  }

  /** Everybody, who are none of these any more. */
  drain(): Job[] {
    return [...this.#active.splice(0), ...this.#waiting.splice(0)]
  }

  active(job: Job): boolean {
    return this.#active.includes(job)
  }

  /** Those that cannot take part in a step yet. */
  get unready(): Promise<void>[] {
    return this.#active.flatMap(({ ready }) => ready ?? [])
  }

  /**
   * The next step, empty when nobody can run. No step may be under way, since this may take blocks away.
   *
   * @param settled calls that have ended have given their blocks back: what has no room now never will
   */
  next(settled: boolean): Batch {
    this.#admit(settled)
    return this.#compose()
  }

  /** The step behind one that samples for everybody; undefined where somebody came, ends, or needs blocks. */
  ahead(batch: Batch): Batch | undefined {
    this.#admit(false)
    if (this.#ready().length !== batch.length) return undefined
    for (const { job, numTokens } of batch) {
      const { ids, cached } = job.sequence
      const samples =
        job.samples && cached + numTokens === ids.length && ids.length < job.reserveTokens
      if (job.usesHistory || job.waits || !samples || !this.active(job)) return undefined
      if (!job.sequence.reserve(ids.length + 1)) return undefined
    }
    return batch.map(({ job }) => ({ job, numTokens: 1 }))
  }

  /** Learns from a step how many tokens of prompts a step may have. */
  measured(batch: Batch, ms: number): void {
    const all = batch.reduce((n, { numTokens }) => n + numTokens, 0)
    const writers = batch.filter(({ numTokens }) => numTokens === 1).length
    this.#promptBudget.measured(writers, all - writers, ms)
  }

  #before(a: Job, b: Job): number {
    return a.priority - b.priority || this.#arrivals.get(a)! - this.#arrivals.get(b)!
  }

  #wait(job: Job): void {
    let at = this.#waiting.length
    while (at > 0 && this.#before(job, this.#waiting[at - 1]!) < 0) at--
    this.#waiting.splice(at, 0, job)
  }

  #admit(settled: boolean): void {
    while (this.#waiting.length > 0 && this.#active.length < maxSequences) {
      const job = this.#waiting[0]!
      const { sequence, reserveTokens } = job
      const hits = job.reuse ? sequence.adopt() : 0
      const { free, size } = this.#pool
      const alone = this.#active.length === 0
      const wanted = sequence.missingBlocks(alone ? reserveTokens : sequence.ids.length)
      // Some blocks are left for those that write, so that nobody starts only to make room at once.
      const spare = alone ? 0 : Math.max(Math.ceil(size / 100), this.#active.length)
      if (wanted + spare > free) {
        sequence.unadopt(hits)
        if (!alone || !settled) return // somebody will free blocks, or has ended and is about to
        this.#waiting.shift()
        job.onError(contextFull(this.#freeRoom(), wanted * blockTokens))
        continue
      }
      this.#waiting.shift()
      this.#active.push(job)
      if (job.reuse) this.#queries += hits + pending(job)
      this.#hits += hits
      job.onStart?.()
    }
  }

  #ready(): Job[] {
    return this.#active.filter(({ ready }) => ready === undefined)
  }

  #compose(): Batch {
    const order = this.#ready().sort((a, b) => this.#before(a, b))
    const batch: Batch = []
    let left = this.#limits.maxTokens
    let history = this.#pool.size * blockTokens // blocks are shared, so texts may be longer together
    const take = (job: Job, most: number): number => {
      const numTokens = this.#chunk(job, Math.min(most, left))
      const read = job.usesHistory ? job.sequence.ids.length : 0
      if (numTokens === 0 || read > history) return 0
      if (!this.#makeRoom(job, job.sequence.cached + numTokens, batch)) return 0
      history -= read
      left -= numTokens
      batch.push({ job, numTokens })
      return numTokens
    }
    for (const job of order) if (pending(job) === 1) take(job, 1)
    let budget = Math.min(left, this.#promptBudget.tokens(batch.length))
    const prompts = order.filter((job) => pending(job) > 1)
    const chosen = prompts.slice(0, Math.max(1, Math.floor(budget / blockTokens)))
    // Short ones first, so that what they leave of their share goes to the others.
    chosen.sort((a, b) => pending(a) - pending(b))
    for (const [i, job] of chosen.entries()) {
      const share = Math.max(blockTokens, Math.floor(budget / (chosen.length - i)))
      if (this.active(job)) budget -= take(job, Math.min(share, budget))
    }
    return batch
  }

  /** At most `most` tokens of a job, up to the end of a block unless all is in: blocks and plans then fit others. */
  #chunk(job: Job, most: number): number {
    const all = pending(job)
    const { numTokens } = job.sequence.alike(Math.min(all, job.maxTokens, most))
    const end = job.sequence.cached + numTokens
    const over = numTokens < all ? end % blockTokens : 0
    return numTokens > over ? numTokens - over : numTokens
  }

  #freeRoom(): Room {
    const { size, free } = this.#pool
    const kept = (size - free) * blockTokens
    return {
      tokens: free * blockTokens,
      setBy: `${cacheOption}, less ${kept} that sequences hold until they are disposed`,
    }
  }

  /** Blocks for `tokens` tokens of a job, if need be those of newer ones. */
  #makeRoom(job: Job, tokens: number, batch: Batch): boolean {
    while (!job.sequence.reserve(tokens)) {
      const newest = this.#active.reduce((a, b) => (this.#before(a, b) > 0 ? a : b))
      if (this.#active.length === 1) {
        // Sequences that callers keep have the rest.
        this.remove(job)
        const wanted = job.sequence.missingBlocks(tokens)
        job.onError(contextFull(this.#freeRoom(), wanted * blockTokens))
        return false
      }
      this.#active.splice(this.#active.indexOf(newest), 1)
      const at = batch.findIndex((one) => one.job === newest)
      if (at >= 0) batch.splice(at, 1)
      newest.sequence.evict()
      this.#preemptions++
      this.#wait(newest)
      if (newest === job) return false
    }
    return true
  }
}

function contextFull({ tokens, setBy }: Room, wanted: number): MoeError {
  return new MoeError(
    'ERR_MOE_CONTEXT_FULL',
    `cache: tokens must be at most ${tokens} (${setBy}), got ${wanted}`,
  )
}
