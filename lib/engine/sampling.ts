import { randomInt } from 'node:crypto'
import { badOption } from '../errors.ts'
import { isPlain, numberOption } from '../options.ts'

/** How the next token is chosen. Greedy unless something here, or generation_config.json, asks otherwise. */
export interface SamplingOptions {
  /** 0: always the best token. Default 0, or 1 when topK, topP or minP is given. */
  temperature?: number | undefined
  /** Only the k best tokens; 0: all. */
  topK?: number | undefined
  /** Only the smallest set of tokens whose probabilities reach this sum; 1: all. */
  topP?: number | undefined
  /** Only tokens of at least this share of the best one's probability; 0: all. */
  minP?: number | undefined
  /** Above 1 makes tokens of the prompt and the answer less likely (arXiv:1909.05858); 1: off. */
  repetitionPenalty?: number | undefined
  /** Taken from the logit of every token that the answer has already; 0: off. */
  presencePenalty?: number | undefined
  /** Taken once for each time that the answer has the token; 0: off. */
  frequencyPenalty?: number | undefined
  /** Added to the logits of these ids, from -100 to 100 each, before all else. */
  logitBias?: Readonly<Record<number, number>> | undefined
  /** Equal seeds give equal texts on one device, whatever else runs. Default: random. */
  seed?: number | undefined
}

/** The options of one generation, complete and valid. */
export interface Sampling {
  temperature: number
  topP: number
  minP: number
  repetition: number
  presence: number
  frequency: number
  topK: number
  seed: number
  bias: ReadonlyMap<number, number>
}

interface Range {
  min: number
  max?: number
  whole?: boolean
}
type Name = Exclude<keyof SamplingOptions, 'seed' | 'logitBias'> | 'maxNewTokens'

const penalty = { min: -1e3, max: 1e3 }
const share = { min: 0, max: 1 }
export const ranges: { readonly [name in Name]: Range } = {
  maxNewTokens: { min: 1, whole: true },
  temperature: { min: 0, max: 1e4 },
  topK: { min: 0, max: 0x7fffffff, whole: true },
  topP: share,
  minP: share,
  repetitionPenalty: { min: 1e-3, max: 1e3 },
  presencePenalty: penalty,
  frequencyPenalty: penalty,
}

/** How many tokens to write at most: none where the prompt's own are all that is asked of. */
export const resolveMaxNewTokens = (
  asked: unknown,
  defaults: { maxNewTokens?: number | undefined },
  promptLogprobs?: unknown,
): number =>
  numberOption('maxNewTokens', asked ?? defaults.maxNewTokens ?? 256, {
    ...ranges.maxNewTokens,
    ...(promptLogprobs !== undefined && { min: 0 }),
  })

/** OpenAI's. */
const biasRange = { min: -100, max: 100 }

function readBias(given: unknown, vocabSize: number): Map<number, number> {
  if (given === undefined) return new Map()
  if (!isPlain(given))
    return badOption('generate', 'logitBias', 'an object of biases by token id', given)
  return new Map(
    Object.entries(given).map(([id, bias]) => {
      if (!/^\d{1,9}$/.test(id) || Number(id) >= vocabSize)
        badOption('generate', 'logitBias', `by token ids from 0 to ${vocabSize - 1}`, id)
      return [Number(id), numberOption(`logitBias.${id}`, bias, biasRange)]
    }),
  )
}

/** Validates the caller's options over the checkpoint's. */
export function resolveSampling(
  options: SamplingOptions,
  defaults: SamplingOptions,
  vocabSize: number,
): Sampling {
  const { temperature, topK, topP, minP, seed } = options
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = options
  const number = (name: Exclude<Name, 'maxNewTokens'>, value: unknown, fallback: number) =>
    numberOption(name, value ?? defaults[name] ?? fallback, ranges[name])
  const restriction = {
    topK: number('topK', topK, 0),
    topP: number('topP', topP, 1),
    minP: number('minP', minP, 0),
  }
  // The caller's own: a checkpoint that restricts says its temperature, too.
  const restricted = (topK ?? 0) > 0 || (topP ?? 1) < 1 || (minP ?? 0) > 0
  return {
    ...restriction,
    temperature: number('temperature', temperature, restricted ? 1 : 0),
    repetition: number('repetitionPenalty', repetitionPenalty, 1),
    presence: number('presencePenalty', presencePenalty, 0),
    frequency: number('frequencyPenalty', frequencyPenalty, 0),
    bias: readBias(options.logitBias, vocabSize),
    seed: numberOption('seed', seed ?? randomInt(2 ** 47), { min: 0, whole: true }),
  }
}

/** Whether the tokens so far matter. */
export const usesHistory = (s: Sampling): boolean =>
  s.repetition !== 1 || s.presence !== 0 || s.frequency !== 0
