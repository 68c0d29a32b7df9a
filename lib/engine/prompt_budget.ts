import type { LayerInfo } from '../layers/step.ts'
import { blockTokens } from '../ops/index.ts'

/** Times as long as in a large step that a prompt's token may take, before fewer of them are no gain. */
const mostPerToken = 4

/** Rows of an expert from which on a step's arithmetic takes about as long as reading the expert. */
const rowsOfExpert = 8

/** Tokens of a step that give the experts of every layer so many rows. */
export const tokensThatReadPays = (layers: readonly LayerInfo[]): number =>
  rowsOfExpert *
  Math.max(
    1,
    ...layers.map(({ experts }) =>
      experts ? experts.kinds.length / Math.max(1, experts.topK) : 1,
    ),
  )

/** What steps may have and take. */
export interface PromptLimits {
  /** Most tokens of a step. */
  maxTokens: number
  /** Prompt tokens from which on reading experts pays. A step has fewer only where it turns out to be quick all the same. */
  leastTokens: number
  /** Times as long as without prompts that a step may take in which texts are written; Infinity: no matter. */
  slowdown: number
}

/**
 * How many tokens of prompts a step may have in which texts are written: so many that it takes some times as long as one
 * without them. A step's time is no line of its tokens, since a few of them already read most experts; so their number
 * follows the times of the steps before.
 */
export class PromptBudget {
  readonly #limits: PromptLimits
  readonly #least: number
  #tokens: number
  /** Milliseconds of steps without prompts, by the whole binary logarithm of the texts in them. */
  readonly #writeMs: (number | undefined)[] = []
  /** Of a token in large steps that nobody wrote in. */
  #tokenMs: number | undefined

  constructor(limits: PromptLimits) {
    this.#limits = limits
    this.#least = Math.max(blockTokens, Math.min(limits.leastTokens, limits.maxTokens))
    this.#tokens = this.#least
  }

  /** Tokens of prompts in a step with `writers` tokens that continue texts. */
  tokens(writers: number): number {
    const { maxTokens, slowdown } = this.#limits
    if (writers === 0 || slowdown === Number.POSITIVE_INFINITY) return maxTokens
    return Math.floor(this.#tokens / blockTokens) * blockTokens
  }

  /** Learns from a step that has ended. */
  measured(writers: number, promptTokens: number, ms: number): void {
    const { maxTokens, slowdown } = this.#limits
    if (promptTokens === 0) this.#measuredWriting(writers, ms)
    if (writers === 0 && promptTokens >= maxTokens / 2)
      this.#tokenMs = blended(this.#tokenMs, ms / promptTokens)
    const alone = writers === 0 ? undefined : this.#msOfWriting(writers)
    if (promptTokens < blockTokens || alone === undefined) return
    // One step that something else held up must not count for much.
    const change = Math.min(1.5, Math.max(0.75, (slowdown * alone) / ms))
    // A short prompt says nothing of what more tokens would take.
    if (change > 1 && promptTokens < 0.75 * this.tokens(writers)) return
    const quick = ms - alone < mostPerToken * promptTokens * (this.#tokenMs ?? 0)
    const least = quick ? blockTokens : Math.min(this.#least, this.#tokens)
    this.#tokens = Math.min(maxTokens, Math.max(least, change * this.#tokens))
  }

  #measuredWriting(writers: number, ms: number): void {
    const at = Math.floor(Math.log2(writers))
    this.#writeMs[at] = blended(this.#writeMs[at], ms)
  }

  /** Of as many texts, or of the most fewer ones that are known. */
  #msOfWriting(writers: number): number | undefined {
    for (let at = Math.floor(Math.log2(writers)); at >= 0; at--)
      if (this.#writeMs[at] !== undefined) return this.#writeMs[at]
    return undefined
  }
}

/** A mean that forgets. */
const blended = (before: number | undefined, now: number): number => 0.7 * (before ?? now) + 0.3 * now
