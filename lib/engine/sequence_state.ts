import type { Adapter } from '../adapters/adapter.ts'
import type { VisibilityRules } from '../layers/visibility.ts'
import { blockTokens } from '../ops/index.ts'
import { blockHash, firstParent } from './block_hash.ts'
import type { BlockPool } from './blocks.ts'
import type { ExpertAdjust } from './experts.ts'

/** One text in the cache: its ids, the blocks that hold it, and how much of it they hold. */
export class SequenceState {
  readonly ids: number[] = []
  readonly blocks: number[] = []
  /** Tokens whose keys, values and states are in the cache. */
  cached = 0
  /** Tokens that a pass has been through; `cached` may be less, then some are computed again. */
  processed = 0
  /** How the call changed the routing that each token came with: it is computed again in the same way. */
  readonly #experts: ExpertAdjust[] = []
  /** By rule, the first visible position of each token. */
  readonly #starts: Record<string, number[]>
  readonly #pool: BlockPool
  readonly #rules: VisibilityRules
  readonly #keepsState: boolean
  readonly #salt: string
  /** What its tokens are computed with, beside the model's own weights. */
  readonly adapter: Adapter | undefined
  #disposed = false
  /** Of the full blocks of `ids`, as far as they were asked for. */
  readonly #hashes: string[] = []
  /** Blocks that `commit` has seen. */
  #committed = 0

  /**
   * @param keepsState a layer remembers the last token, so the cache can only be cut between blocks
   * @param salt       blocks are shared only with texts of the same salt
   */
  constructor(
    pool: BlockPool,
    rules: VisibilityRules,
    keepsState: boolean,
    salt = '',
    adapter?: Adapter,
  ) {
    this.#pool = pool
    this.#rules = rules
    this.#keepsState = keepsState
    this.#salt = salt
    this.adapter = adapter
    adapter?.retain()
    this.#starts = Object.fromEntries(Object.keys(rules).map((name) => [name, []]))
  }

  append(ids: ArrayLike<number>, experts?: ExpertAdjust): void {
    for (let i = 0; i < ids.length; i++) {
      this.ids.push(ids[i]!)
      this.#experts.push(experts)
    }
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

  /** Of the next tokens to run, at most `most`, those that change the routing in one way. */
  alike(most: number): { numTokens: number; experts: ExpertAdjust } {
    const experts = this.#experts[this.cached]
    let end = this.cached
    while (end < this.cached + most && this.#experts[end] === experts) end++
    return { numTokens: end - this.cached, experts }
  }

  /** Counts the next `numTokens` tokens as run. */
  advance(numTokens: number): void {
    this.cached += numTokens
    this.processed = Math.max(this.processed, this.cached)
  }

  /**
   * Takes over cached blocks that hold the tokens behind those cached so far, but for the last token: its pass gives
   * the logits.
   *
   * @returns tokens that need no pass any more
   */
  adopt(): number {
    if (this.cached % blockTokens !== 0) return 0
    const before = this.cached
    const most = Math.floor((this.ids.length - 1) / blockTokens)
    this.#releaseFrom(before / blockTokens)
    while (this.blocks.length < most) {
      const block = this.#pool.find(this.#hash(this.blocks.length))
      if (block === undefined) break
      this.#pool.share(block)
      this.blocks.push(block)
    }
    this.cached = Math.max(before, this.blocks.length * blockTokens)
    this.#committed = Math.max(this.#committed, this.blocks.length)
    return this.cached - before
  }

  /** Undoes the last `adopt`, which has given `tokens`. */
  unadopt(tokens: number): void {
    this.cached -= tokens
    this.#releaseFrom(Math.ceil(this.cached / blockTokens))
  }

  /** Makes blocks that have become full known, so that other texts adopt them. */
  commit(): void {
    const full = Math.floor(this.cached / blockTokens)
    for (; this.#committed < full; this.#committed++)
      this.#pool.register(this.blocks[this.#committed]!, this.#hash(this.#committed))
  }

  /** Gives all blocks back; the tokens stay, and are computed again. */
  evict(): void {
    this.#releaseFrom(0)
    this.cached = 0
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
    this.#experts.length = this.ids.length
    this.processed = Math.min(this.processed, length)
    this.#hashes.length = Math.min(this.#hashes.length, Math.floor(this.ids.length / blockTokens))
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
    const copy = new SequenceState(
      this.#pool,
      this.#rules,
      this.#keepsState,
      this.#salt,
      this.adapter,
    )
    copy.append(this.ids)
    for (const [i, experts] of this.#experts.entries()) copy.#experts[i] = experts
    const full = Math.floor(this.cached / blockTokens)
    for (const block of this.blocks.slice(0, full)) {
      this.#pool.share(block)
      copy.blocks.push(block)
    }
    copy.cached = full * blockTokens
    copy.#committed = Math.min(full, this.#committed)
    copy.processed = this.processed
    return copy
  }

  dispose(): void {
    this.evict()
    if (!this.#disposed) this.adapter?.leave()
    this.#disposed = true
  }

  /** Keeps the cache of the first `length` tokens. What is behind them in their last block is written again. */
  #cut(length: number): void {
    const full = Math.floor(length / blockTokens)
    const last = this.blocks[full]
    this.cached = length
    this.#committed = Math.min(this.#committed, full)
    if (length % blockTokens === 0) return
    const shared = last !== undefined && this.#pool.shared(last)
    if (this.#keepsState || shared) this.cached = full * blockTokens
    if (shared) this.#releaseFrom(full)
    else if (last !== undefined) this.#pool.forget(last)
  }

  /** The last block first, so that a text's beginning stays cached longest. */
  #releaseFrom(index: number): void {
    for (const block of this.blocks.splice(index).reverse()) this.#pool.release(block)
    this.#committed = Math.min(this.#committed, index)
  }

  #hash(block: number): string {
    for (let i = this.#hashes.length; i <= block; i++) {
      const [from, to] = [i * blockTokens, (i + 1) * blockTokens]
      const parent = this.#hashes[i - 1] ?? firstParent(this.#salt, this.adapter)
      this.#hashes.push(blockHash(parent, this.ids.slice(from, to), this.#experts.slice(from, to)))
    }
    return this.#hashes[block]!
  }
}
