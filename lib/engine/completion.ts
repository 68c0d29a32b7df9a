import type { Constraint } from '../constraints/constraint.ts'
import type { TextStream } from '../tokenizer/index.ts'
import type { Sampled } from './chunk.ts'
import type { LayerExpertOptions } from './experts.ts'
import type { Sampling, SamplingOptions } from './sampling.ts'
import { StopStrings } from './stop.ts'
import type { LayerRouting } from './trace.ts'

/** Options of `generate`: how the next token is chosen, when the text ends, what is reported beside it. */
export interface GenerateOptions extends SamplingOptions {
  /** Default: what generation_config.json says, else 256. With `promptLogprobs` it may be 0. */
  maxNewTokens?: number | undefined
  /** The text ends by no stop id or string before it has so many tokens. Default 0. */
  minNewTokens?: number | undefined
  /**
   * Strings that end the text, special tokens among them; they are cut from it. Default: what
   * generation_config.json says; [] for none.
   */
  stop?: string | readonly string[] | undefined
  /** Ids that end the text, instead of the model's end-of-text ids; [] for none. `also`: beside the model's. */
  stopIds?: readonly number[] | { also: readonly number[] } | undefined
  /** What the text must be, from its first character to its last. What `maxNewTokens` cuts is only the beginning. */
  constraint?: Constraint | undefined
  /** Only these ids; among them those that end the text, else it ends by its length. */
  allowedTokens?: readonly number[] | undefined
  /** Report this many best tokens beside each one, at most 20. */
  logprobs?: number | undefined
  /**
   * Report how likely each token of the prompt was, and this many best ones beside it, at most 20. Nothing cached is used
   * then.
   */
  promptLogprobs?: number | undefined
  /**
   * Also every layer's expert choice for every processed token. `new`: of the tokens behind the prompt alone, so that
   * what is cached of it needs no pass.
   */
  routing?: boolean | 'new' | undefined
  /** Calls of a lower number come first where not all fit. Default 0. */
  priority?: number | undefined
  /**
   * Texts with the same beginning share what is cached of it, which who asks can tell from the time. This one shares
   * only with those of the same salt. Default ''.
   */
  cacheSalt?: string | undefined
  /** Name of a LoRA adapter that `loadAdapter` has loaded. Default: none. */
  adapter?: string | undefined
  /** Experts to disable, favour or force for the tokens that this call adds. */
  experts?: LayerExpertOptions | undefined
  /** Aborts; the generation rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** A token and its natural log probability, from the softmax of the unmodified logits. */
export interface TokenLogprob {
  id: number
  logprob: number
}

/** A token of a prompt. */
export interface PromptLogprob extends TokenLogprob {
  /** The best tokens at this place. */
  top: TokenLogprob[]
}

/** One new token. `text` is what it adds to the visible text; without a tokenizer it is empty. */
export interface GenerateChunk extends TokenLogprob {
  text: string
  /** The best tokens at this place. With `logprobs`. */
  top?: TokenLogprob[]
  /** Where the token before this one went: one row a layer, undefined for a layer without a router. With `routing`. */
  routing?: (LayerRouting | undefined)[]
}

/** A text that has ended. */
export interface GenerateResult {
  text: string
  /** New tokens, without the one that ended the text. */
  ids: number[]
  /** `stop`: a stop id or string, or nothing may follow by the constraint; `length`: maxNewTokens, or the cache is full. */
  finishReason: 'stop' | 'length'
  /** The stop string or id that ended the text; absent where none did. */
  stopReason?: string | number
  /** One entry a token of `ids`. With `logprobs`. */
  logprobs?: (TokenLogprob & { top: TokenLogprob[] })[]
  /** One entry a token of the prompt; undefined for the first, which nothing predicts. With `promptLogprobs`. */
  promptLogprobs?: (PromptLogprob | undefined)[]
  /**
   * One a layer, undefined for a layer without a router; one row a token that this call processed: the prompt and
   * the new tokens but the last, which a stop id adds. With `routing`; for `new` without the prompt.
   */
  routing?: (LayerRouting | undefined)[]
  /** Tokens of this call; of the prompt, `cachedTokens` were known from texts before. */
  usage: { promptTokens: number; cachedTokens: number; completionTokens: number }
  /** Milliseconds, and rates of tokens a second. */
  timings: {
    promptMs: number
    /** Of promptMs, what passed before the call got room in the cache. */
    queuedMs: number
    generationMs: number
    promptTokensPerSecond: number
    tokensPerSecond: number
  }
}

/** A generation's options, complete and valid. */
export interface Limits {
  sampling: Sampling
  maxNewTokens: number
  minNewTokens: number
  stops: readonly string[]
  /** What is told of each id that ends the text: itself, or how the caller wrote it. */
  stopIds: ReadonlyMap<number, string | number>
  top: number
  /** Tokens that the cache must hold at the end. */
  reserveTokens: number
}

/** What one generation has written so far, and whether it goes on. */
export class Completion {
  readonly ids: number[] = []
  /** Known when the work begins. */
  cachedTokens: number | undefined
  /** `performance.now()` when it got room. */
  admittedAt: number | undefined
  readonly #promptTokens: number
  readonly #limits: Limits
  readonly #stream: TextStream | undefined
  readonly #stops: StopStrings
  readonly #emit: (chunk: GenerateChunk) => void
  readonly #logprobs: NonNullable<GenerateResult['logprobs']> = []
  readonly #started = performance.now()
  #firstToken: number | undefined
  #text = ''
  #stopReason: string | number | undefined
  #whole = false
  /** Chunks whose text is held back in whole or part: it may become a stop string or is half a character. */
  #waiting: GenerateChunk[] = []

  constructor(
    promptTokens: number,
    limits: Limits,
    stream: TextStream | undefined,
    emit: (chunk: GenerateChunk) => void,
  ) {
    this.#promptTokens = promptTokens
    this.#limits = limits
    this.#stream = stream
    this.#stops = new StopStrings(limits.stops)
    this.#emit = emit
  }

  /**
   * Takes the next token; false when the text has ended.
   *
   * @param routing of the token that it was drawn behind
   */
  accept({ id, logprob, top }: Sampled, routing?: (LayerRouting | undefined)[]): boolean {
    this.#firstToken ??= performance.now()
    const reason = this.#limits.stopIds.get(id)
    if (reason !== undefined) return this.#end(reason)
    this.ids.push(id)
    const wanted = top.slice(0, this.#limits.top)
    if (this.#limits.top > 0) this.#logprobs.push({ id, logprob, top: wanted })
    this.#waiting.push({
      ...{ id, logprob, text: '' },
      ...(this.#limits.top > 0 && { top: wanted }),
      ...(routing && { routing }),
    })
    const piece = this.#stream?.push(id) ?? ''
    const early = this.ids.length <= this.#limits.minNewTokens
    const { text, held, stop } = early ? { text: piece, held: false } : this.#stops.push(piece)
    this.#show(text)
    if (stop !== undefined) {
      this.#stopReason = stop
      this.#flush()
      return false
    }
    if (this.ids.length === this.#limits.maxNewTokens) return this.#end()
    if (!held) this.#flush()
    return true
  }

  /** The text is whole as it is. */
  finish(): void {
    this.#whole = true
    this.#end()
  }

  #show(text: string): void {
    this.#text += text
    const last = this.#waiting.at(-1)
    if (last) last.text += text
  }

  #flush(): void {
    for (const chunk of this.#waiting) this.#emit(chunk)
    this.#waiting = []
  }

  #end(reason?: string | number): false {
    const { text, stop } = this.#stops.push(this.#stream?.end() ?? '')
    this.#stopReason = reason ?? stop
    const rest = text + this.#stops.end()
    // The token that the rest belongs to may have been shown already: half a character at the very end.
    if (rest !== '' && this.#waiting.length === 0) this.#text += rest
    else this.#show(rest)
    this.#flush()
    return false
  }

  result(): GenerateResult {
    const now = performance.now()
    const promptMs = (this.#firstToken ?? now) - this.#started
    const generationMs = now - this.#started - promptMs
    const completionTokens = this.ids.length
    return {
      text: this.#text,
      ids: this.ids,
      finishReason: this.#stopReason === undefined && !this.#whole ? 'length' : 'stop',
      ...(this.#stopReason !== undefined && { stopReason: this.#stopReason }),
      ...(this.#limits.top > 0 && { logprobs: this.#logprobs }),
      usage: {
        promptTokens: this.#promptTokens,
        cachedTokens: this.cachedTokens ?? 0,
        completionTokens,
      },
      timings: {
        promptMs,
        queuedMs: (this.admittedAt ?? now) - this.#started,
        generationMs,
        promptTokensPerSecond: (1000 * this.#promptTokens) / promptMs,
        // The first token belongs to the prompt's time.
        tokensPerSecond:
          generationMs > 0 ? (1000 * Math.max(0, completionTokens - 1)) / generationMs : 0,
      },
    }
  }
}
