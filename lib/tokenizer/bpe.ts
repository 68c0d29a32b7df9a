/** A candidate merge of the symbols at `left` and `right`. */
interface Merge {
  score: number
  left: number
  right: number
  merged: string
}

const before = (a: Merge, b: Merge): boolean =>
  a.score > b.score || (a.score === b.score && a.left < b.left)

/** Binary heap: the best score first, among equals the leftmost. */
class MergeQueue {
  readonly #heap: Merge[] = []

  push(merge: Merge): void {
    const heap = this.#heap
    let i = heap.push(merge) - 1
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(heap[i]!, heap[parent]!)) break
      ;[heap[i], heap[parent]] = [heap[parent]!, heap[i]!]
      i = parent
    }
  }

  pop(): Merge | undefined {
    const heap = this.#heap
    const best = heap[0]
    const last = heap.pop()
    if (heap.length === 0 || last === undefined) return best
    heap[0] = last
    for (let i = 0; ; ) {
      let child = 2 * i + 1
      if (child >= heap.length) return best
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, heap[i]!)) return best
      ;[heap[i], heap[child]] = [heap[child]!, heap[i]!]
      i = child
    }
  }
}

/**
 * Byte-pair encoding as SentencePiece does it: merge the neighbouring symbols whose union has the best score
 * until none is left.
 *
 * @param symbols the text's symbols; changed
 * @param scoreOf score of a piece; undefined: not a piece
 */
export function mergePairs(
  symbols: string[],
  scoreOf: (piece: string) => number | undefined,
): string[] {
  const n = symbols.length
  const previous = Int32Array.from({ length: n }, (_, i) => i - 1)
  const next = Int32Array.from({ length: n }, (_, i) => (i + 1 < n ? i + 1 : -1))
  const queue = new MergeQueue()
  const offer = (left: number, right: number) => {
    if (left < 0 || right < 0) return
    const merged = symbols[left]! + symbols[right]!
    const score = scoreOf(merged)
    if (score !== undefined) queue.push({ score, left, right, merged })
  }
  for (let i = 0; i + 1 < n; i++) offer(i, i + 1)
  for (let merge = queue.pop(); merge; merge = queue.pop()) {
    const { left, right, merged } = merge
    // Stale: one of the two has been merged meanwhile.
    if (next[left] !== right || symbols[left]! + symbols[right]! !== merged) continue
    symbols[left] = merged
    symbols[right] = ''
    next[left] = next[right]!
    if (next[right]! >= 0) previous[next[right]!] = left
    next[right] = -2
    offer(previous[left]!, left)
    offer(left, next[left]!)
  }
  return symbols.filter((symbol) => symbol !== '')
}
