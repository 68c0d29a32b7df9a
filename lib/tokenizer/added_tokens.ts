import { Trie } from './trie.ts'

/** A string that is one id wherever it stands, beside the model's pieces. */
export interface AddedToken {
  id: number
  content: string
  /** Left out of decoded text. */
  special: boolean
  /** Matched in normalised text, in its own normalised form. */
  normalized: boolean
  /** Takes the white space before it along. */
  lstrip: boolean
  /** Takes the white space behind it along. */
  rstrip: boolean
  /** Only where no word goes on beside it. */
  singleWord: boolean
}

/** Units between two places to pause. */
const window = 1 << 15

const isSpace = (text: string, at: number): boolean => /\p{White_Space}/u.test(text[at] ?? '')
const isWord = (character: string | undefined): boolean =>
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u.test(character ?? '')

const characterAt = (text: string, at: number): string =>
  at < text.length ? String.fromCodePoint(text.codePointAt(at)!) : ''

const characterBefore = (text: string, at: number): string =>
  [...text.slice(Math.max(0, at - 2), at)].at(-1) ?? ''

/** Cuts added tokens out of a text, as the `tokenizers` library does: leftmost first, then longest. */
export class AddedTokenSplitter {
  readonly #tokens: readonly AddedToken[]
  /** Their places in `#tokens` by what stands for them; undefined: there are none. */
  readonly #trie: Trie | undefined

  /** @param contentOf what stands for a token in the text */
  constructor(
    tokens: Iterable<AddedToken>,
    contentOf: (token: AddedToken) => string = ({ content }) => content,
  ) {
    this.#tokens = [...tokens]
    const places = this.#tokens.map((token, i) => [contentOf(token), i] as const)
    const byContent = new Map(places.filter(([text]) => text !== ''))
    if (byContent.size > 0) this.#trie = new Trie(byContent)
  }

  /** The text's parts in order; undefined is a place to pause. */
  *split(text: string): Generator<string | AddedToken | undefined, void, void> {
    let given = 0
    let pause = window
    for (let at = 0; this.#trie && at < text.length; ) {
      const start = at++
      if (start >= pause) {
        pause += window
        yield
      }
      if (this.#trie.child(0, text.charCodeAt(start)) < 0) continue
      const { value, length } = this.#trie.longest(text, start)
      if (length === 0) continue
      at = start + length
      const token = this.#tokens[value]!
      if (
        token.singleWord &&
        (isWord(characterBefore(text, start)) || isWord(characterAt(text, at)))
      )
        continue
      let first = start
      let end = at
      if (token.lstrip) while (first > given && isSpace(text, first - 1)) first--
      if (token.rstrip) while (end < text.length && isSpace(text, end)) end++
      if (given < first) yield text.slice(given, first)
      yield token
      given = end
    }
    if (given < text.length) yield text.slice(given)
  }
}
