import type { GenerateChunk, PromptLogprob, TokenLogprob } from '../engine/completion.ts'
import { bytesOf } from '../tokenizer/bytes.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { CheckedTokenizer } from '../tokenizer/tokenizer.ts'

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

  /** Bytes of a token that is no whole character; undefined where its text tells them. */
  partBytes(id: number, token: string): number[] | undefined {
    if (!token.includes('\ufffd') || !(this.#tokenizer instanceof CheckedTokenizer))
      return undefined
    return bytesOf(CheckedTokenizer.lettersOf(this.#tokenizer, id))
  }

  /** As OpenAI writes tokens of text completions: halves of characters by their bytes, so that they differ. */
  named(id: number, previousId: number | undefined): string {
    const token = this.of(id, previousId)
    const bytes = this.partBytes(id, token)
    const hex = (byte: number) => `\\x${byte.toString(16).padStart(2, '0')}`
    return bytes ? `bytes:${bytes.map(hex).join('')}` : token
  }

  /** What each token of a prompt adds to its text. */
  pieces(ids: readonly number[]): string[] {
    const stream = this.#tokenizer.stream(undefined)
    return ids.map((id) => stream.push(id))
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
    const bytes = texts.partBytes(one.id, token) ?? [...Buffer.from(token)]
    return { token, logprob: finite(one.logprob), bytes }
  }
  return { ...entry({ id, logprob }), top_logprobs: top.map(entry) }
}

/** The `logprobs` of a text completion; null for the first token of a prompt. */
export interface TextLogprobs {
  tokens: string[]
  token_logprobs: (number | null)[]
  top_logprobs: (Record<string, number> | null)[] | null
  text_offset: number[]
}

/** A token of a choice: one that is new, or of the prompt. */
export interface TextToken {
  id: number
  text: string
  logprob?: number
  top?: readonly TokenLogprob[]
}

/** A prompt's tokens with their `top` best ones; with none, 0 of them. */
export function promptTokens(
  texts: TokenTexts,
  ids: readonly number[],
  scores: readonly (PromptLogprob | undefined)[],
  top: number,
): TextToken[] {
  return texts.pieces(ids).map((text, i) => {
    const score = scores[i]
    const best = top > 0 && score ? { top: score.top.slice(0, top) } : {}
    return { id: ids[i]!, text, ...(score && { logprob: score.logprob }), ...best }
  })
}

/** vLLM's `prompt_logprobs`: by id, the token and the `top` best ones; null for the first. */
export function promptLogprobs(
  texts: TokenTexts,
  ids: readonly number[],
  scores: readonly (PromptLogprob | undefined)[],
  top: number,
): (object | null)[] {
  return scores.map((score, i) => {
    if (!score) return null
    const best = score.top.slice(0, top)
    const entry = ({ id, logprob }: TokenLogprob) => {
      const at = best.findIndex((one) => one.id === id)
      const decoded_token = texts.of(id, ids[i - 1])
      return [
        id,
        { logprob: finite(logprob), rank: at < 0 ? null : at + 1, decoded_token },
      ] as const
    }
    return Object.fromEntries([score, ...best].map(entry))
  })
}

/** @param offset of the first token's text in the choice's text */
export function textLogprobs(
  texts: TokenTexts,
  tokens: readonly TextToken[],
  firstPreviousId: number | undefined,
  offset: number,
): TextLogprobs {
  const out: TextLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
  let at = offset
  let previousId = firstPreviousId
  for (const { id, logprob, text, top } of tokens) {
    out.tokens.push(texts.named(id, previousId))
    out.token_logprobs.push(logprob === undefined ? null : finite(logprob))
    const best = top?.map((one) => [texts.named(one.id, previousId), finite(one.logprob)])
    out.top_logprobs!.push(best ? Object.fromEntries(best) : null)
    out.text_offset.push(at)
    at += text.length
    previousId = id
  }
  if (tokens.every(({ top }) => !top)) out.top_logprobs = null
  return out
}
