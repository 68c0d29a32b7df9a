import { badOption } from './errors.ts'
import { Model } from './model.ts'
import { native } from './native.ts'
import type { OptionNames } from './option_names.ts'
import { checkOptions, numberOption, readIds, signalOption, type TokenIds } from './options.ts'

/** Options of `evaluate`. */
export interface EvaluateOptions {
  /** A model of the same vocabulary, to compare with. */
  against?: Model | undefined
  /** Tokens that are seen at once, BOS included. Default 2048, or what fits the caches where that is less. */
  window?: number | undefined
  /** Called after each piece of a window. */
  onProgress?: ((progress: EvaluateProgress) => void) | undefined
  /** Aborts; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** How far an evaluation is. */
export interface EvaluateProgress {
  doneTokens: number
  totalTokens: number
}

/** How well a model predicts a text. */
export interface Evaluation {
  /** That were predicted: all but the first of each window. */
  tokens: number
  window: number
  /** Mean of -log p(token), in nats. */
  loss: number
  /** exp(loss) */
  perplexity: number
  /** With `against`. */
  against?: {
    /** Of the other model. */
    loss: number
    perplexity: number
    /** Mean Kullback-Leibler divergence of this model's probabilities from the other's, in nats. */
    divergence: number
    /** Share of places where both have the same first choice. */
    agreement: number
  }
}

const where = 'evaluate'
const optionNames: OptionNames<EvaluateOptions> = {
  ...{ against: true, window: true, onProgress: true, signal: true },
}

/** Logits that are held at a time. */
const pieceBytes = 16 << 20

function readModel(name: string, value: unknown): Model {
  return value instanceof Model ? value : badOption(where, name, 'a model', value)
}

/** Token ids without BOS, and what each window begins with. */
async function readText(model: Model, text: string | TokenIds, signal: AbortSignal | undefined) {
  if (typeof text !== 'string')
    return { ids: readIds(where, text, model.config.vocabSize), before: [] }
  const { tokenizer } = model
  if (!tokenizer)
    return badOption(where, 'text', 'token ids for a model without a tokenizer', 'a string')
  const ids = await tokenizer.encodeAsync(text, { addSpecialTokens: false, signal })
  const [first] = tokenizer.encode('')
  const before = first !== undefined && first === tokenizer.bosId ? [first] : []
  return { ids, before }
}

/**
 * Cuts a text into windows that do not overlap and measures how well the model predicts each token from those before it
 * in its window. With `against`, also how far its choices are from another model's, such as the same checkpoint in
 * another format.
 *
 * ```ts
 * const { perplexity, against } = await evaluate(quantised, text, { against: original })
 * ```
 *
 * @param text text, which the model's tokenizer encodes (each window begins with BOS where texts do), or token ids
 * @throws {MoeError} ERR_MOE_OPTION, ERR_MOE_NUMERIC where a logit is not finite, ERR_MOE_CONTEXT_FULL when the caches are
 *   in use, ERR_MOE_DISPOSED
 */
export async function evaluate(
  model: Model,
  text: string | TokenIds,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  readModel('model', model)
  checkOptions(where, options, optionNames)
  const { against: other, window: asked, onProgress, signal: given } = options
  const models = other === undefined ? [model] : [model, readModel('against', other)]
  const signal = signalOption(where, given)
  if (onProgress !== undefined && typeof onProgress !== 'function')
    badOption(where, 'onProgress', 'a function', onProgress)
  const sizes = models.map(({ config }) => config.vocabSize)
  if (sizes.some((size) => size !== sizes[0]))
    badOption(where, 'against', `a model of ${sizes[0]} tokens`, sizes.at(-1))
  const most = Math.min(...models.map(({ maxTokens }) => maxTokens))
  const window = numberOption('window', asked ?? Math.min(most, 2048), {
    ...{ min: 2, max: most, whole: true, where },
  })
  signal?.throwIfAborted()
  const { ids, before } = await readText(model, text, signal)
  if (ids.length + before.length < 2)
    badOption(where, 'text', 'at least two tokens', ids.length + before.length)
  const scores = new Scores(models, Math.max(1, Math.floor(pieceBytes / (4 * sizes[0]!))), signal)
  const fresh = window - before.length
  for (let at = 0; at < ids.length; at += fresh) {
    const taken = [...before, ...ids.slice(at, at + fresh)]
    await scores.addWindow(taken, (done) =>
      onProgress?.({
        doneTokens: Math.min(at + done, ids.length),
        totalTokens: ids.length,
      }),
    )
  }
  return scores.result(window)
}

/** What has been added up. */
class Scores {
  #tokens = 0
  #loss = 0
  #otherLoss = 0
  #divergence = 0
  #agreed = 0
  readonly #models: readonly Model[]
  readonly #step: number
  readonly #signal: AbortSignal | undefined

  constructor(models: readonly Model[], step: number, signal: AbortSignal | undefined) {
    this.#models = models
    this.#step = step
    this.#signal = signal
  }

  /** Predicts each of `ids` but the first. */
  async addWindow(ids: number[], onDone: (tokens: number) => void): Promise<void> {
    const sequences = this.#models.map((model) => model.sequence())
    try {
      for (let at = 0; at < ids.length - 1; at += this.#step) {
        const piece = ids.slice(at, Math.min(at + this.#step, ids.length - 1))
        const options = { logits: 'all', checkNumerics: true, signal: this.#signal } as const
        const all = []
        for (const sequence of sequences) all.push((await sequence.forward(piece, options)).logits)
        await this.#add(all, ids.slice(at + 1, at + 1 + piece.length))
        onDone(at + 1 + piece.length)
      }
    } finally {
      for (const sequence of sequences) sequence.dispose()
    }
  }

  async #add([logits, other]: Float32Array[], targets: number[]): Promise<void> {
    const shape = [targets.length, logits!.length / targets.length]
    const { tensorFrom, scoreLogits } = native()
    const sums = await scoreLogits(
      tensorFrom(logits!, shape, 'f32'),
      tensorFrom(Int32Array.from(targets), [targets.length], 'i32'),
      other && tensorFrom(other, shape, 'f32'),
    )
    this.#tokens += targets.length
    this.#loss += sums.loss
    this.#otherLoss += sums.otherLoss
    this.#divergence += sums.divergence
    this.#agreed += sums.agreed
  }

  result(window: number): Evaluation {
    const tokens = this.#tokens
    const loss = this.#loss / tokens
    const otherLoss = this.#otherLoss / tokens
    return {
      ...{ tokens, window, loss, perplexity: Math.exp(loss) },
      ...(this.#models.length === 2 && {
        against: {
          ...{ loss: otherLoss, perplexity: Math.exp(otherLoss) },
          divergence: this.#divergence / tokens,
          agreement: this.#agreed / tokens,
        },
      }),
    }
  }
}
