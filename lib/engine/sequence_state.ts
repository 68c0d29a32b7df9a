import type { Architecture } from '../models/architecture.ts'
import { blockTokens } from '../ops/index.ts'
import type { BlockPool } from './blocks.ts'

/** One text in the cache: its ids, the blocks that hold it, and how much of it they hold. */
export class SequenceState {
  readonly ids: number[] = []
  readonly blocks: number[] = []
  /** Tokens whose keys, values and filter state are in the cache. */
  cached = 0
  /** First visible position of each token. */
  readonly firsts: number[] = []
  readonly #pool: BlockPool
  readonly #firstVisible: Architecture['firstVisible']
  readonly #hasState: boolean

  /** @param hasState a layer remembers the last token, so the cache can only be cut between blocks */
  constructor(pool: BlockPool, firstVisible: Architecture['firstVisible'], hasState: boolean) {
    this.#pool = pool
    this.#firstVisible = firstVisible
    this.#hasState = hasState
  }

  append(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) {
      this.firsts.push(this.firstAt(this.ids.length))
      this.ids.push(ids[i]!)
    }
  }

  /** First visible position of a token, or of the one that comes next. */
  firstAt(position: number): number {
    const previous = position - 1
    return (
      this.firsts[position] ??
      this.#firstVisible(position, this.firsts[previous] ?? 0, this.ids[previous])
    )
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
   * Forgets all but the first `length` tokens. Where a block is shared, or a layer remembers the block's last
   * token only, the rest of that block is dropped from the cache and computed again with the next tokens.
   */
  truncate(length: number): void {
    this.ids.length = Math.min(this.ids.length, length)
    this.firsts.length = this.ids.length
    if (this.cached > length) this.#cut(length)
    this.#releaseFrom(Math.ceil(this.ids.length / blockTokens))
  }

  /** What a cancelled step may have overwritten is not used again. */
  distrustLastBlock(): void {
    if (this.#hasState) this.#cut(this.cached)
  }

  /** A copy that shares every full block. */
  fork(): SequenceState {
    const copy = new SequenceState(this.#pool, this.#firstVisible, this.#hasState)
    copy.append(this.ids)
    const full = Math.floor(this.cached / blockTokens)
    for (const block of this.blocks.slice(0, full)) {
      this.#pool.share(block)
      copy.blocks.push(block)
    }
    copy.cached = full * blockTokens
    return copy
  }

  dispose(): void {
    this.#releaseFrom(0)
    this.cached = 0
  }

  #cut(length: number): void {
    const last = this.blocks[Math.floor(length / blockTokens)]
    const partial = length % blockTokens !== 0
    if (partial && (this.#hasState || (last !== undefined && this.#pool.shared(last)))) {
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
