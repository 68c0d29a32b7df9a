/** What a token is in its text, seen from its characters alone. */
export type TokenKind =
  | 'word'
  | 'fragment'
  | 'number'
  | 'punctuation'
  | 'space'
  | 'special'
  | 'other'

export const tokenKinds: readonly TokenKind[] = [
  ...(['word', 'fragment', 'number', 'punctuation', 'space', 'special', 'other'] as const),
]

/** Scripts that write without spaces: a token of theirs begins a word. */
const unspaced = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u

/**
 * Says of each token what it is: a `fragment` goes on with a word that tokens before it began, `other` is a part of a
 * character.
 */
export class TokenKinds {
  #inWord = false

  /** @param text the token's bytes as text; '' for a special token */
  next(text: string): TokenKind {
    const kind = this.#kindOf(text)
    this.#inWord = /[\p{L}\p{M}]$/u.test(text)
    return kind
  }

  #kindOf(text: string): TokenKind {
    if (text === '') return 'special'
    if (/\ufffd/.test(text)) return 'other'
    const inside = text.trimStart()
    if (inside === '') return 'space'
    if (/^\p{N}/u.test(inside)) return 'number'
    if (unspaced.test(inside)) return 'word'
    const goesOn = this.#inWord && inside === text
    if (/^[\p{L}\p{M}]/u.test(inside) || /^['’]\p{L}/u.test(inside))
      return goesOn ? 'fragment' : 'word'
    return 'punctuation'
  }
}
