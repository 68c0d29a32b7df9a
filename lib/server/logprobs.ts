import type { GenerateChunk, TokenLogprob } from '../engine/completion.ts'
import type { Tokenizer } from '../tokenizer/index.ts'

/** JSON has no infinity. */
const finite = (logprob: number): number => Math.max(logprob, -9999)

/** Texts of single tokens as they stand in a text. */
export class TokenTexts {
  readonly #tokenizer: Tokenizer
  readonly #special: ReadonlyMap<number, string>

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
    this.#special = new Map([...tokenizer.specialIds].map(([text, id]) => [id, text]))
  }

  /** A token's text behind another; half a character is U+FFFD. */
  of(id: number, previousId: number | undefined): string {
    const special = this.#special.get(id)
    if (special !== undefined) return special
    const stream = this.#tokenizer.stream(previousId)
    return stream.push(id) + stream.end()
  }
}

/** One entry of a chat's `logprobs.content`. */
export function chatLogprob(
  texts: TokenTexts,
  { id, logprob, top = [] }: GenerateChunk,
  previousId: number | undefined,
): object {
  const entry = (one: TokenLogprob) => {
    const token = texts.of(one.id, previousId)
    // A token that is no whole character has bytes that its text does not tell.
    const bytes = token.includes('\ufffd') ? null : [...Buffer.from(token)]
    return { token, logprob: finite(one.logprob), bytes }
  }
  return { ...entry({ id, logprob }), top_logprobs: top.map(entry) }
}

/** The `logprobs` of a text completion. */
export interface TextLogprobs {
  tokens: string[]
  token_logprobs: number[]
  top_logprobs: Record<string, number>[] | null
  text_offset: number[]
}

/** @param offset of the first token's text in the choice's text */
export function textLogprobs(
  texts: TokenTexts,
  chunks: readonly GenerateChunk[],
  firstPreviousId: number | undefined,
  offset: number,
): TextLogprobs {
  const out: TextLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
  let at = offset
  let previousId = firstPreviousId
  for (const { id, logprob, text, top } of chunks) {
    out.tokens.push(texts.of(id, previousId))
    out.token_logprobs.push(finite(logprob))
    const best = (top ?? []).map((one) => [texts.of(one.id, previousId), finite(one.logprob)])
    if (top) out.top_logprobs!.push(Object.fromEntries(best))
    out.text_offset.push(at)
    at += text.length
    previousId = id
  }
  if (chunks.some(({ top }) => !top)) out.top_logprobs = null
  return out
}
