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

/** Units that are searched at once. */
const window = 1 << 15

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
const isSpace = (text: string, at: number): boolean => /\p{White_Space}/u.test(text[at] ?? '')
const isWord = (character: string | undefined): boolean =>
  /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u.test(character ?? '')

const characterAt = (text: string, at: number): string =>
  at < text.length ? String.fromCodePoint(text.codePointAt(at)!) : ''

const characterBefore = (text: string, at: number): string =>
  [...text.slice(Math.max(0, at - 2), at)].at(-1) ?? ''

/** Cuts added tokens out of a text, as the `tokenizers` library does: leftmost first, then longest. */
export class AddedTokenSplitter {
  readonly #byContent: ReadonlyMap<string, AddedToken>
  readonly #pattern: RegExp | undefined
  readonly #longest: number

  /** @param contentOf what stands for a token in the text */
  constructor(
    tokens: Iterable<AddedToken>,
    contentOf: (token: AddedToken) => string = ({ content }) => content,
  ) {
    this.#byContent = new Map(
      [...tokens]
        .map((token) => [contentOf(token), token] as const)
        .filter(([text]) => text !== ''),
    )
    const contents = [...this.#byContent.keys()].sort((a, b) => b.length - a.length)
    this.#longest = contents[0]?.length ?? 0
    if (contents.length > 0) this.#pattern = new RegExp(contents.map(escaped).join('|'))
  }

  /** The text's parts in order; undefined is a place to pause. */
  *split(text: string): Generator<string | AddedToken | undefined, void, void> {
    let given = 0
    for (let at = 0; this.#pattern && at < text.length; ) {
      const found = this.#pattern.exec(text.slice(at, at + window + this.#longest))
      if (!found || found.index >= window) {
        at += window
        yield
        continue
      }
      const start = at + found.index
      at = start + found[0].length
      const token = this.#byContent.get(found[0])!
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
