import type { PairTable } from './pair_table.ts'
import type { Steps } from './slices.ts'

/** Pairs of symbols that merge: `pairs` gives an index into the others. A small rank goes first. */
export interface Merges {
  pairs: PairTable
  ranks: ArrayLike<number>
  /** The symbol that the pair becomes. */
  merged: ArrayLike<number>
  /** Symbols that are taken apart again in the end. */
  temporary?: ReadonlySet<number> | undefined
}

// A rank and a position are one number, so that the heap is a plain array.
const places = 2 ** 31

/** Binary heap of numbers, the smallest first. */
class Heap {
  size = 0
  #keys = new Float64Array(256)

  push(key: number): void {
    if (this.size === this.#keys.length) {
      const larger = new Float64Array(2 * this.size)
      larger.set(this.#keys)
      this.#keys = larger
    }
    const keys = this.#keys
    let i = this.size++
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (keys[parent]! <= key) break
      keys[i] = keys[parent]!
      i = parent
    }
    keys[i] = key
  }

  pop(): number {
    const keys = this.#keys
    const best = keys[0]!
    const size = --this.size
    const last = keys[size]!
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= size) break
      if (child + 1 < size && keys[child + 1]! < keys[child]!) child++
      if (keys[child]! >= last) break
      keys[i] = keys[child]!
      i = child
    }
    keys[i] = last
    return best
  }
}

/**
 * Byte-pair encoding of one text: merge the neighbours whose union has the best rank, among equals the
 * leftmost, until no two can. In steps, since a text may be long.
 */
export class Merging {
  /** Symbols that are left stand where their first one stood; follow `next` from 0. */
  symbols = new Int32Array(256)
  /** -1 at the end, -2 for a symbol that is gone. */
  next = new Int32Array(256)
  /** What temporary symbols were made of. */
  readonly parts = new Map<number, readonly [number, number]>()
  #previous = new Int32Array(256)
  readonly #heap = new Heap()
  readonly #merges: Merges
  #count = 0
  #offered = 0

  constructor(merges: Merges) {
    this.#merges = merges
  }

  /** Makes room for more than 256 symbols, one table at a time: new memory is slow to come. */
  *reserve(count: number): Steps<void> {
    this.symbols = new Int32Array(count)
    yield
    this.next = new Int32Array(count)
    yield
    this.#previous = new Int32Array(count)
    yield
  }

  /** Begins a text; `add` its symbols then. */
  begin(): void {
    this.#count = 0
    this.#offered = 0
    this.#heap.size = 0
  }

  add(symbol: number): void {
    const i = this.#count++
    this.symbols[i] = symbol
    this.next[i] = -1
    this.#previous[i] = i - 1
    if (i > 0) this.next[i - 1] = i
  }

  /** Does so much of the work; true when all is done. */
  advance(work: number): boolean {
    for (let left = work; left > 0; left--) {
      if (this.#offered + 1 < this.#count) this.#offer(this.#offered, ++this.#offered)
      else if (this.#heap.size > 0) this.#merge(this.#heap.pop())
      else return true
    }
    return false
  }

  #offer(left: number, right: number): void {
    const { pairs, ranks, merged, temporary } = this.#merges
    const pair = pairs.get(this.symbols[left]!, this.symbols[right]!)
    if (pair < 0) return
    this.#heap.push(ranks[pair]! * places + left)
    if (temporary?.has(merged[pair]!))
      this.parts.set(merged[pair]!, [this.symbols[left]!, this.symbols[right]!])
  }

  #merge(key: number): void {
    const left = key % places
    const right = this.next[left]!
    if (right < 0) return
    const pair = this.#merges.pairs.get(this.symbols[left]!, this.symbols[right]!)
    // Stale: one of the two has been merged meanwhile.
    if (pair < 0 || this.#merges.ranks[pair]! * places + left !== key) return
    this.symbols[left] = this.#merges.merged[pair]!
    const next = this.next[right]!
    this.next[left] = next
    this.next[right] = -2
    if (next >= 0) {
      this.#previous[next] = left
      this.#offer(left, next)
    }
    if (left > 0) this.#offer(this.#previous[left]!, left)
  }
}
