import type { VisibilityRules } from '../layers/visibility.ts'
import { blockTokens } from '../ops/index.ts'
import type { BlockPool } from './blocks.ts'

/** One text in the cache: its ids, the blocks that hold it, and how much of it they hold. */
export class SequenceState {
  readonly ids: number[] = []
  readonly blocks: number[] = []
  /** Tokens whose keys, values and states are in the cache. */
  cached = 0
  /** Tokens that a pass has been through; `cached` may be less, then some are computed again. */
  processed = 0
  /** By rule, the first visible position of each token. */
  readonly #starts: Record<string, number[]>
  readonly #pool: BlockPool
  readonly #rules: VisibilityRules
  readonly #keepsState: boolean

  /** @param keepsState a layer remembers the last token, so the cache can only be cut between blocks */
  constructor(pool: BlockPool, rules: VisibilityRules, keepsState: boolean) {
    this.#pool = pool
    this.#rules = rules
    this.#keepsState = keepsState
    this.#starts = Object.fromEntries(Object.keys(rules).map((name) => [name, []]))
  }

  append(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) this.ids.push(ids[i]!)
    for (const [rule, starts] of Object.entries(this.#starts))
      while (starts.length < this.ids.length) starts.push(this.startAt(rule, starts.length))
  }

  /** By the rule of this name, the first visible position of a token, or of the one that comes next. */
  startAt(rule: string, position: number): number {
    const starts = this.#starts[rule]!
    const before = position - 1
    return (
      starts[position] ?? this.#rules[rule]!.start(position, starts[before] ?? 0, this.ids[before])
    )
  }

  /** Counts the next `numTokens` tokens as run. */
  advance(numTokens: number): void {
    this.cached += numTokens
    this.processed = Math.max(this.processed, this.cached)
  }

  /** Blocks still missing for `tokens` tokens in all. */
  missingBlocks(tokens: number): number {
    return Math.max(0, Math.ceil(tokens / blockTokens) - this.blocks.length)
  }

  /** Takes the missing blocks; false, and nothing taken, when there are too few. */
  reserve(tokens: number): boolean {
    const missing = this.missingBlocks(tokens)
    if (missing > this.#pool.free) return false
    for (let i = 0; i < missing; i++) this.blocks.push(this.#pool.take())
    return true
  }

  /**
   * Forgets all but the first `length` tokens, and gives back blocks that are not needed. Where a block is shared,
   * or a layer remembers the block's last token only, the rest of that block is dropped from the cache and
   * computed again with the next tokens.
   */
  truncate(length: number): void {
    this.ids.length = Math.min(this.ids.length, length)
    this.processed = Math.min(this.processed, length)
    for (const starts of Object.values(this.#starts)) starts.length = this.ids.length
    if (this.cached > length) this.#cut(length)
    this.#releaseFrom(Math.ceil(this.ids.length / blockTokens))
  }

  /** What a step that does not count may have overwritten is not used again. */
  distrustLastBlock(): void {
    if (this.#keepsState) this.#cut(this.cached)
  }

  /** A copy that shares every full block. */
  fork(): SequenceState {
    const copy = new SequenceState(this.#pool, this.#rules, this.#keepsState)
    copy.append(this.ids)
    const full = Math.floor(this.cached / blockTokens)
    for (const block of this.blocks.slice(0, full)) {
      this.#pool.share(block)
      copy.blocks.push(block)
    }
    copy.cached = full * blockTokens
    copy.processed = this.processed
    return copy
  }

  dispose(): void {
    this.#releaseFrom(0)
    this.cached = 0
  }

  #cut(length: number): void {
    const last = this.blocks[Math.floor(length / blockTokens)]
    const partial = length % blockTokens !== 0
    if (partial && (this.#keepsState || (last !== undefined && this.#pool.shared(last)))) {
      this.cached = length - (length % blockTokens)
      if (last !== undefined && this.#pool.shared(last))
        this.#releaseFrom(this.cached / blockTokens)
    } else {
      this.cached = length
    }
  }

  #releaseFrom(index: number): void {
    for (const block of this.blocks.splice(index)) this.#pool.release(block)
  }
}
