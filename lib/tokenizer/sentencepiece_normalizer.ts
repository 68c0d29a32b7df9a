import type { Charsmap } from './charsmap.ts'
import type { Steps } from './slices.ts'
import type { Trie } from './trie.ts'

/** How SentencePiece spells a space. */
export const spaceSymbol = '\u2581'

export interface NormalizerSpec {
  charsmap: Charsmap | undefined
  addDummyPrefix: boolean
  removeExtraWhitespaces: boolean
  escapeWhitespaces: boolean
  treatWhitespaceAsSuffix: boolean
}

/** A part of a text: without the dummy space, which is for whole ones. */
export interface Place {
  /** Something stands before it: one of several spaces at the start stays. */
  inside: boolean
}

const window = 1 << 14

/** SentencePiece's normalizer.cc, but that a space stays one: U+2581 becomes one where they are the same. */
export class SentencePieceNormalizer {
  readonly #spec: NormalizerSpec
  readonly #fixed: Trie | undefined
  readonly #plain: Uint8Array

  /** @param fixed user-defined pieces, which rules leave alone */
  constructor(spec: NormalizerSpec, fixed: Trie | undefined) {
    this.#spec = spec
    this.#fixed = fixed
    this.#plain = plainAscii(spec.charsmap, fixed)
  }

  *normalize(text: string, place?: Place): Steps<string> {
    const { escapeWhitespaces, treatWhitespaceAsSuffix: suffix } = this.#spec
    const shrink = this.#spec.removeExtraWhitespaces
    const dummy = !place && this.#spec.addDummyPrefix
    let afterSpace = shrink && !place?.inside
    let out = ''
    let onlySpaces = true
    for (let at = 0; at < text.length; ) {
      let part: string
      if (this.#spec.charsmap || this.#fixed) {
        let end = at + window
        const parts: string[] = []
        for (const item of this.#items(text, at, end)) {
          if (onlySpaces && !(item.plain ? /^ *$/.test(item.text) : item.text === ' '))
            onlySpaces = false
          const many = shrink && item.plain && item.text.includes('  ')
          const spaced = many ? item.text.replace(/ +/g, ' ') : item.text
          parts.push(shrink ? shrunk(spaced, afterSpace) : spaced)
          if (parts.at(-1) !== '') afterSpace = shrink && parts.at(-1)!.endsWith(' ')
          end = item.end
        }
        part = parts.join('')
        at = end
      } else {
        part = text.slice(at, at + window)
        // Here each character is an item of its own.
        if (onlySpaces && /[^ ]/.test(part)) onlySpaces = false
        if (shrink) part = shrunk(part.replace(/ +/g, ' '), afterSpace)
        if (part !== '') afterSpace = shrink && part.endsWith(' ')
        at += window
      }
      out += escapeWhitespaces ? part.replaceAll(spaceSymbol, ' ') : part
      yield
    }
    if (onlySpaces && (shrink || text === '') && !place?.inside) return ''
    if (dummy && !suffix) out = ` ${out}`
    if (shrink) {
      let end = out.length
      while (out[end - 1] === ' ') end--
      out = out.slice(0, end)
    }
    if (dummy && suffix) out += ' '
    return out
  }

  /** What the text becomes, rule by rule, up to the first place behind `end`. */
  *#items(text: string, from: number, end: number): Generator<Item> {
    for (let at = from; at < end && at < text.length; ) {
      const start = at
      while (at < end && this.#isPlain(text, at)) at++
      if (at > start) {
        yield { text: text.slice(start, at), end: at, plain: true }
        continue
      }
      const fixed = this.#fixed?.longest(text, at).length ?? 0
      if (fixed > 0) {
        at += fixed
        yield { text: text.slice(start, at), end: at, plain: false }
        continue
      }
      const rule = this.#spec.charsmap?.longest(text, at)
      at += rule?.length ?? (text.codePointAt(at)! > 0xffff ? 2 : 1)
      yield { text: rule?.text ?? text.slice(start, at), end: at, plain: false }
    }
  }

  /** No rule and no user-defined piece starts here: those for letters go on with accents. */
  #isPlain(text: string, at: number): boolean {
    const unit = text.charCodeAt(at)
    const next = text.charCodeAt(at + 1)
    return unit < 128 && this.#plain[unit] === 1 && !(next >= 128)
  }
}

/** One step of normalisation. In plain text each character is a step. */
interface Item {
  text: string
  end: number
  plain: boolean
}

/** 1 for ASCII characters that stay as they are before other ASCII. */
function plainAscii(charsmap: Charsmap | undefined, fixed: Trie | undefined): Uint8Array {
  const plain = new Uint8Array(128)
  for (let unit = 0; unit < 128; unit++) {
    if (fixed && fixed.child(0, unit) >= 0) continue
    const before = (next: number) => charsmap?.longest(String.fromCharCode(unit, next), 0)
    plain[unit] = Number(Array.from(plain.keys()).every((next) => before(next) === undefined))
  }
  return plain
}

const shrunk = (text: string, afterSpace: boolean): string =>
  afterSpace && text.startsWith(' ') ? text.replace(/^ +/, '') : text
