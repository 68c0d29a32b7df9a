import type { Cuts } from './cuts.ts'
import type { Ids, PieceModel } from './piece_model.ts'
import type { Steps } from './slices.ts'
import { Trie } from './trie.ts'

export interface UnigramOptions {
  /** Text and score of the pieces a text can have, by id. */
  pieces: ReadonlyMap<number, { text: string; score: number }>
  unknownScore: number
  cuts: Cuts
  /** Sums are rounded to 32 bits, as SentencePiece's are: near ties in a long text depend on it. */
  rounded: boolean
}

/** At least so many units go through the search at once, and it pauses as often. */
const chunk = 1024

/** The path of pieces with the largest sum of scores. */
export class Unigram implements PieceModel {
  readonly #trie = new Trie()
  readonly #options: UnigramOptions
  readonly #round: (value: number) => number

  constructor(options: UnigramOptions) {
    this.#options = options
    this.#round = options.rounded ? Math.fround : (value) => value
    for (const [id, { text }] of options.pieces) this.#trie.set(text, id)
  }

  *encode(text: string, out: Ids): Steps<void> {
    let score = 0
    for (let start = 0; start < text.length; ) {
      let end = Math.min(text.length, start + chunk)
      while (end < text.length && !this.#options.cuts.allows(text, end))
        if (++end % chunk === 0) yield
      score = yield* this.#encodeChunk(text.slice(start, end), score, out)
      start = end
      yield
    }
  }

  /** @returns the sum of scores with this chunk */
  *#encodeChunk(text: string, scoreBefore: number, out: Ids): Steps<number> {
    const { length } = text
    // The best piece that ends at each place: where it starts, its id, the sum with it.
    const starts = new Int32Array(length + 1).fill(-1)
    const ids = new Int32Array(length + 1)
    const scores = new Float64Array(length + 1)
    scores[0] = scoreBefore
    const offer = (from: number, to: number, id: number, score: number): void => {
      const sum = this.#round(score + scores[from]!)
      if (starts[to] !== -1 && sum <= scores[to]!) return
      starts[to] = from
      ids[to] = id
      scores[to] = sum
    }
    const { pieces, unknownScore } = this.#options
    for (let at = 0, pause = chunk; at < length; ) {
      const width = text.codePointAt(at)! > 0xffff ? 2 : 1
      let single = false
      for (let i = at, node = 0; i < length; ) {
        node = this.#trie.child(node, text.charCodeAt(i++))
        if (node < 0) break
        const id = this.#trie.value(node)
        if (id < 0) continue
        offer(at, i, id, pieces.get(id)!.score)
        if (i - at === width) single = true
      }
      if (!single) offer(at, at + width, -1, unknownScore)
      at += width
      if (at >= pause) {
        pause = at + chunk
        yield
      }
    }
    const ends: number[] = []
    for (let end = length; end > 0; end = starts[end]!) ends.push(end)
    for (const end of ends.reverse())
      if (ids[end]! >= 0) out.push(ids[end]!)
      else out.pushUnknown(text.slice(starts[end], end))
    return scores[length]!
  }
}
