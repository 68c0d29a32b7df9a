import { type Charsmap, CharsmapReader } from './charsmap.ts'
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

/** Where a part of a text stands, instead of what the model says about a whole one. */
export interface Place {
  /** Put a space in front. */
  prefix: boolean
  /** Something stands before it: one of several spaces at the start stays. */
  inside: boolean
}

const window = 1 << 14

/** SentencePiece's normalizer.cc. */
export class SentencePieceNormalizer {
  readonly #spec: NormalizerSpec
  readonly #fixed: Trie | undefined

  /** @param fixed user-defined pieces, which rules leave alone */
  constructor(spec: NormalizerSpec, fixed: Trie | undefined) {
    this.#spec = spec
    this.#fixed = fixed
  }

  *normalize(text: string, place?: Place): Steps<string> {
    const { removeExtraWhitespaces: shrink, treatWhitespaceAsSuffix: suffix } = this.#spec
    const space = this.#spec.escapeWhitespaces ? spaceSymbol : ' '
    const dummy = place?.prefix ?? this.#spec.addDummyPrefix
    let afterSpace = shrink && !place?.inside
    let out = ''
    let onlySpaces = true
    for (let at = 0; at < text.length; ) {
      let part: string
      if (this.#spec.charsmap || this.#fixed) {
        let end = at + window
        const parts: string[] = []
        for (const item of this.#items(text, at, end)) {
          if (item.text !== ' ') onlySpaces = false
          parts.push(shrink ? shrunk(item.text, afterSpace) : item.text)
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
      out += part.replaceAll(' ', space)
      yield
    }
    if (onlySpaces && (shrink || text === '') && !place?.inside) return ''
    if (dummy && (place || !suffix)) out = space + out
    if (shrink) while (out.endsWith(space)) out = out.slice(0, -space.length)
    if (dummy && suffix && !place) out += space
    return out
  }

  /** What the text becomes, rule by rule, up to the first place behind `end`. */
  *#items(text: string, from: number, end: number): Generator<{ text: string; end: number }> {
    const reader = this.#spec.charsmap && new CharsmapReader(this.#spec.charsmap, text)
    for (let at = from; at < end && at < text.length; ) {
      const fixed = this.#fixed?.longest(text, at).length ?? 0
      if (fixed > 0) {
        yield { text: text.slice(at, at + fixed), end: at + fixed }
        at += fixed
      } else if (reader) {
        const rule = reader.next(at)
        yield { text: rule.text, end: at + rule.length }
        at += rule.length
      } else {
        const width = text.codePointAt(at)! > 0xffff ? 2 : 1
        yield { text: text.slice(at, at + width), end: at + width }
        at += width
      }
    }
  }
}

const shrunk = (text: string, afterSpace: boolean): string =>
  afterSpace ? text.replace(/^ +/, '') : text
