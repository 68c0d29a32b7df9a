import { notFinite } from '../errors.ts'
import type { Sampled, SampleRequest } from './chunk.ts'
import type { PromptLogprob } from './completion.ts'
import type { Sampling } from './sampling.ts'

/** Beyond any logit, and far from the largest f32. */
const certain = 1e30
const greedy: Omit<Sampling, 'bias'> = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0 },
  ...{ repetition: 1, presence: 0, frequency: 0 },
}

/** How likely a prompt's tokens are: each is drawn as a new one is, with a bias that leaves no choice. */
export class PromptScores {
  readonly #ids: readonly number[]
  readonly #first: number
  readonly #end: number
  readonly #top: number
  /** Nothing predicts the first. */
  readonly #known: (PromptLogprob | undefined)[] = [undefined]

  /**
   * @param ids   of the whole text
   * @param first place of the prompt's first token in it; the last one is the text's last
   * @param top   best tokens to report beside each
   */
  constructor(ids: readonly number[], first: number, top: number) {
    this.#ids = ids
    this.#first = first
    this.#end = ids.length
    this.#top = top
  }

  get #next(): number {
    return this.#first + this.#known.length
  }

  get done(): boolean {
    return this.#next === this.#end
  }

  /** One for each token of the prompt; undefined for the first. */
  get all(): (PromptLogprob | undefined)[] {
    return this.#known
  }

  /** What is asked of the last of the `numTokens` tokens from `start` on, as far as it is not known from before. */
  draws(start: number, numTokens: number): SampleRequest[] {
    const from = Math.max(start + 1, this.#next)
    const ids = this.#ids.slice(from, Math.min(start + numTokens + 1, this.#end))
    return ids.map((id) => ({
      sampling: { ...greedy, bias: new Map([[id, certain]]) },
      ...{ step: 0, promptLength: 0, top: this.#top },
    }))
  }

  /** @throws {MoeError} ERR_MOE_NUMERIC where a logit is NaN or infinite */
  add(scored: readonly Sampled[]): void {
    for (const { id, logprob, top, nonFinite } of scored) {
      if (nonFinite >= 0) {
        const what = `logits at position ${this.#next - 1}`
        notFinite('generate', what, `NaN or infinity for token id ${nonFinite}`)
      }
      this.#known.push({ id, logprob, top })
    }
  }
}
