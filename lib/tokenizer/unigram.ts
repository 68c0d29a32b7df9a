import type { Cuts } from './cuts.ts'
import type { Ids, PieceModel } from './piece_model.ts'
import type { Steps } from './slices.ts'
import { Trie } from './trie.ts'

export interface UnigramOptions {
  /** Text and score of the pieces a text can have, by id. */
  pieces: ReadonlyMap<number, { text: string; score: number }>
  unknownScore: number
  /** A piece that counts as unknown characters, but where it stands alone. */
  unknown?: { id: number; text: string } | undefined
  cuts: Cuts
  /** Sums are rounded to 32 bits, as SentencePiece's are: near ties in a long text depend on it. */
  rounded: boolean
}

/** The best piece that ends at each place: where it starts, its id (-1: unknown), the sum with it. */
class Best {
  starts = new Int32Array(0)
  ids = new Int32Array(0)
  scores = new Float64Array(0)
  /** End of the piece that starts there. */
  next = new Int32Array(0)
  /** Unknown characters that have come one after the other. */
  run = ''
  /** The run is longer than a piece, and `run` what has not been given of it. */
  longRun = false

  begin(length: number, score: number): void {
    if (this.starts.length <= length) {
      this.starts = new Int32Array(2 * length + 2)
      this.ids = new Int32Array(2 * length + 2)
      this.scores = new Float64Array(2 * length + 2)
      this.next = new Int32Array(2 * length + 2)
    }
    this.starts.fill(-1, 0, length + 1)
    this.scores[0] = score
  }
}

/** At least so many units go through the search at once, and it pauses as often. */
const chunk = 1024

/** The path of pieces with the largest sum of scores. */
export class Unigram implements PieceModel {
  readonly #trie: Trie
  readonly #options: UnigramOptions
  readonly #rounded: boolean
  readonly #scores: Float64Array

  constructor(options: UnigramOptions) {
    this.#options = options
    this.#rounded = options.rounded
    this.#scores = new Float64Array(
      [...options.pieces.keys()].reduce((a, b) => Math.max(a, b + 1), 0),
    )
    for (const [id, { score }] of options.pieces) this.#scores[id] = score
    this.#trie = new Trie(new Map([...options.pieces].map(([id, { text }]) => [text, id])))
  }

  *encode(text: string, out: Ids): Steps<void> {
    const best = new Best()
    let score = 0
    for (let start = 0; start < text.length; ) {
      let end = Math.min(text.length, start + chunk)
      while (end < text.length && !this.#options.cuts.allows(text, end))
        if (++end % chunk === 0) yield
      score = yield* this.#encodeChunk(text.slice(start, end), score, best, out)
      start = end
      if (end < text.length) yield
    }
    this.#endRun(best, out)
  }

  #addUnknown(text: string, best: Best, out: Ids): void {
    best.run += text
    if (!best.longRun && best.run.length <= (this.#options.unknown?.text.length ?? 0)) return
    best.longRun = true
    out.pushUnknown(best.run)
    best.run = ''
  }

  #endRun(best: Best, out: Ids): void {
    const { unknown } = this.#options
    if (best.run !== '' && best.run === unknown?.text) out.push(unknown.id)
    else if (best.run !== '') out.pushUnknown(best.run)
    best.run = ''
    best.longRun = false
  }

  /** @returns the sum of scores with this chunk */
  *#encodeChunk(text: string, scoreBefore: number, best: Best, out: Ids): Steps<number> {
    const { length } = text
    best.begin(length, scoreBefore)
    for (let at = 0; at < length; ) {
      const end = Math.min(length, at + chunk)
      while (at < end) at += this.#offerFrom(text, at, best)
      if (at < length) yield
    }
    const { next } = best
    for (let end = length; end > 0; end = best.starts[end]!) next[best.starts[end]!] = end
    for (let at = 0; at < length; at = next[at]!) {
      const id = best.ids[next[at]!]!
      const unknown = id < 0 || id === this.#options.unknown?.id
      if (unknown) this.#addUnknown(text.slice(at, next[at]), best, out)
      else {
        this.#endRun(best, out)
        out.push(id)
      }
    }
    return best.scores[length]!
  }

  /**
   * Tries every piece that starts at `at`.
   *
   * @returns width of the character there
   */
  #offerFrom(text: string, at: number, { starts, ids, scores }: Best): number {
    const trie = this.#trie
    const { length } = text
    const before = scores[at]!
    const width = (text.charCodeAt(at) & 0xfc00) === 0xd800 ? 2 : 1
    let single = false
    let node = 0
    for (let end = at; end < length; ) {
      node = trie.child(node, text.charCodeAt(end++))
      if (node < 0) break
      const id = trie.value(node)
      if (id < 0) continue
      const sum = this.#rounded
        ? Math.fround(this.#scores[id]! + before)
        : this.#scores[id]! + before
      if (starts[end] === -1 || sum > scores[end]!) {
        starts[end] = at
        ids[end] = id
        scores[end] = sum
      }
      if (end - at === width) single = true
    }
    if (single) return width
    const { unknownScore } = this.#options
    const sum = this.#rounded ? Math.fround(unknownScore + before) : unknownScore + before
    const end = at + width
    if (starts[end] === -1 || sum > scores[end]!) {
      starts[end] = at
      ids[end] = -1
      scores[end] = sum
    }
    return width
  }
}
