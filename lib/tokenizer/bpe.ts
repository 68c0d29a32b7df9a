import type { Cuts } from './cuts.ts'
import { type Merges, Merging } from './merging.ts'
import type { Ids, PieceModel } from './piece_model.ts'
import { runAtOnce, type Steps } from './slices.ts'
import type { Trie } from './trie.ts'

export interface BpeOptions {
  merges: Merges
  cuts: Cuts
  /** Symbols of single characters, by code point. Others are unknown and never merge. */
  characters: ReadonlyMap<number, number>
  /** Symbols below it are ids; those above stand for characters that are in no piece of their own. */
  numIds: number
  /** Strings that are one symbol wherever they stand. */
  fixed?: Trie | undefined
  /** Whole texts that are an id without merging. */
  whole?: ReadonlyMap<string, number> | undefined
  /** Characters without a symbol are gone before their neighbours merge. */
  vanish?: boolean | undefined
}

const longestCached = 64
const mostCached = 1 << 15
const workPerStep = 1024

/** Byte-pair encoding of SentencePiece models and of tokenizer.json. */
export class Bpe implements PieceModel {
  readonly #options: BpeOptions
  /** Characters that are in pieces but are none. */
  readonly #extra = new Map<number, string>()
  readonly #short: Merging
  /** Ids of short texts between cuts: most words come again. */
  readonly #cache = new Map<string, readonly number[]>()
  /** Where the characters of a short text start. */
  readonly #starts = new Int32Array(longestCached)

  constructor(options: BpeOptions) {
    this.#options = options
    for (const [code, symbol] of options.characters)
      if (symbol >= options.numIds) this.#extra.set(symbol, String.fromCodePoint(code))
    this.#short = new Merging(options.merges)
  }

  *encode(text: string, out: Ids): Steps<void> {
    const whole = this.#options.whole?.get(text)
    if (whole !== undefined) {
      out.push(whole)
      return
    }
    if (this.#options.vanish) yield* this.#encodeKnown(this.#known(text), out)
    else yield* this.#encodeKnown(text, out)
  }

  #known(text: string): string {
    const { characters } = this.#options
    return Array.from(text)
      .filter((character) => characters.has(character.codePointAt(0)!))
      .join('')
  }

  *#encodeKnown(text: string, out: Ids): Steps<void> {
    const { cuts } = this.#options
    let start = 0
    let pause = workPerStep
    for (let at = 1; at <= text.length; at++) {
      if (at >= pause) {
        pause = at + workPerStep
        yield
      }
      if (at < text.length && !cuts.allows(text, at)) continue
      if (at - start > longestCached) yield* this.#encodeLong(text.slice(start, at), out)
      else this.#encodeShort(text.slice(start, at), out)
      start = at
    }
  }

  #encodeShort(text: string, out: Ids): void {
    let ids = this.#cache.get(text)
    if (!ids) {
      const own = out.fresh()
      const alone = runAtOnce(this.#merge(text, this.#short, this.#starts, own))
      if (!alone) {
        // A run of unknown characters may go on in the neighbours.
        runAtOnce(this.#merge(text, this.#short, this.#starts, out))
        return
      }
      if (this.#cache.size === mostCached) this.#cache.clear()
      ids = runAtOnce(own.toArray())
      this.#cache.set(text, ids)
    }
    for (const id of ids) out.push(id)
  }

  *#encodeLong(text: string, out: Ids): Steps<void> {
    const merging = new Merging(this.#options.merges)
    yield* merging.reserve(text.length)
    yield* this.#merge(text, merging, new Int32Array(text.length), out)
  }

  /** @returns whether the ids are the same beside any neighbours */
  *#merge(text: string, merging: Merging, starts: Int32Array, out: Ids): Steps<boolean> {
    const { characters, fixed } = this.#options
    merging.begin()
    let count = 0
    for (let at = 0; at < text.length; count++) {
      starts[count] = at
      const found = fixed?.longest(text, at)
      if (found !== undefined && found.length > 0) {
        merging.add(-2 - found.value) // in no pair
        at += found.length
      } else {
        const code = text.codePointAt(at)!
        merging.add(characters.get(code) ?? -1)
        at += code > 0xffff ? 2 : 1
      }
      if (count % workPerStep === workPerStep - 1) yield
    }
    while (!merging.advance(workPerStep)) yield
    let alone = true
    for (let i = 0; i >= 0 && count > 0; i = merging.next[i]!) {
      const symbol = merging.symbols[i]!
      if (symbol <= -2) out.push(-2 - symbol)
      else {
        const character = String.fromCodePoint(text.codePointAt(starts[i]!)!)
        alone = this.#emit(symbol, merging, character, out) && alone
      }
      if (out.length % workPerStep === 0) yield
    }
    return alone
  }

  #emit(symbol: number, merging: Merging, character: string, out: Ids): boolean {
    const parts = merging.parts.get(symbol)
    if (parts) {
      const first = this.#emit(parts[0], merging, '', out)
      return this.#emit(parts[1], merging, '', out) && first
    }
    if (symbol < 0 || symbol >= this.#options.numIds)
      return out.pushUnknown(this.#extra.get(symbol) ?? character)
    out.push(symbol)
    return true
  }
}
