import { randomInt } from 'node:crypto'
import { numberOption } from '../options.ts'
import type { Json } from '../weights/json.ts'

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
}

/** What a checkpoint asks for where the caller says nothing. */
export interface CheckpointDefaults extends SamplingOptions {
  maxNewTokens?: number | undefined
}

/** The defaults in generation_config.json; sampling values count only with do_sample. */
export function checkpointDefaults(json: Json): CheckpointDefaults {
  const number = (key: string) =>
    typeof json[key] === 'number' ? (json[key] as number) : undefined
  const always = {
    maxNewTokens: number('max_new_tokens'),
    repetitionPenalty: number('repetition_penalty'),
  }
  if (json.do_sample !== true) return always
  return {
    ...always,
    temperature: number('temperature') ?? 1,
    topK: number('top_k'),
    topP: number('top_p'),
    minP: number('min_p'),
  }
}

/** Validates the caller's options over the checkpoint's. */
export function resolveSampling(options: SamplingOptions, defaults: SamplingOptions): Sampling {
  const pick = <K extends keyof SamplingOptions>(key: K) => options[key] ?? defaults[key]
  const topK = numberOption('topK', pick('topK') ?? 0, { min: 0, max: 0x7fffffff, whole: true })
  const topP = numberOption('topP', pick('topP') ?? 1, { min: 0, max: 1 })
  const minP = numberOption('minP', pick('minP') ?? 0, { min: 0, max: 1 })
  const restricted = (options.topK ?? 0) > 0 || (options.topP ?? 1) < 1 || (options.minP ?? 0) > 0
  const seed = options.seed ?? randomInt(2 ** 47)
  return {
    temperature: numberOption('temperature', pick('temperature') ?? (restricted ? 1 : 0), {
      min: 0,
      max: 1e4,
    }),
    topK,
    topP,
    minP,
    repetition: numberOption('repetitionPenalty', pick('repetitionPenalty') ?? 1, {
      min: 1e-3,
      max: 1e3,
    }),
    presence: numberOption('presencePenalty', pick('presencePenalty') ?? 0, {
      min: -1e3,
      max: 1e3,
    }),
    frequency: numberOption('frequencyPenalty', pick('frequencyPenalty') ?? 0, {
      min: -1e3,
      max: 1e3,
    }),
    seed: numberOption('seed', seed, { min: 0, max: Number.MAX_SAFE_INTEGER, whole: true }),
  }
}

/** Whether the tokens so far matter. */
export const usesHistory = (s: Sampling): boolean =>
  s.repetition !== 1 || s.presence !== 0 || s.frequency !== 0
