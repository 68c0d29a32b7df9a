import { blockTokens } from '../ops/index.ts'

/** Before the time of any step is known. */
const firstTokens = 4 * blockTokens

/** What steps may have and take. */
export interface PromptLimits {
  /** Most tokens of a step. */
  maxTokens: number
  /** Prompt tokens that a step has in any case: with fewer it only reads experts, and takes hardly less long. */
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

  constructor(limits: PromptLimits) {
    this.#limits = limits
    this.#least = Math.max(blockTokens, Math.min(limits.leastTokens, limits.maxTokens))
    this.#tokens = Math.max(this.#least, firstTokens)
  }

  /** Tokens of prompts in a step with `writers` tokens that continue texts. */
  tokens(writers: number): number {
    const { maxTokens, slowdown } = this.#limits
    if (writers === 0 || slowdown === Number.POSITIVE_INFINITY) return maxTokens
    return Math.floor(this.#tokens / blockTokens) * blockTokens
  }

  /** Learns from a step that has ended. */
  measured(writers: number, promptTokens: number, ms: number): void {
    if (promptTokens === 0) this.#measuredWriting(writers, ms)
    const alone = writers === 0 ? undefined : this.#msOfWriting(writers)
    if (promptTokens < blockTokens || alone === undefined) return
    const { maxTokens, slowdown } = this.#limits
    // One step that something else held up must not count for much.
    const change = Math.min(1.5, Math.max(0.75, (slowdown * alone) / ms))
    // A short prompt says nothing of what more tokens would take.
    if (change > 1 && promptTokens < 0.75 * this.#tokens) return
    this.#tokens = Math.min(maxTokens, Math.max(this.#least, change * this.#tokens))
  }

  #measuredWriting(writers: number, ms: number): void {
    const at = Math.floor(Math.log2(writers))
    this.#writeMs[at] = 0.7 * (this.#writeMs[at] ?? ms) + 0.3 * ms
  }

  /** Of as many texts, or of the most fewer ones that are known. */
  #msOfWriting(writers: number): number | undefined {
    for (let at = Math.floor(Math.log2(writers)); at >= 0; at--)
      if (this.#writeMs[at] !== undefined) return this.#writeMs[at]
    return undefined
  }
}
