import type { GenerateOptions } from '../engine/completion.ts'
import { badOption } from '../errors.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, flagOption, readIds, readList, type TokenIds } from '../options.ts'
import type { TraceWish } from './trace.ts'

/** What `encode` and `forward` of an encoder-decoder return beside their result. */
export interface TraceOptions {
  /** Also every layer's expert choice for every token, and what was dropped. Default false. */
  routing?: boolean | undefined
  /** Also every layer's output. Default false. */
  hiddenStates?: boolean | undefined
}

/** Token ids of both sides, as they are: nothing is put around them. */
export interface Seq2SeqInput {
  inputIds: TokenIds
  /** From the decoder's start id on. */
  decoderIds: TokenIds
}

/**
 * What an encoder-decoder's generation takes of a language model's options: all but what is about a shared cache
 * (`cacheSalt`, `priority`), about a text's own tokens, which nothing predicts here (`promptLogprobs`), and `adapter` and
 * `experts`.
 */
export interface Seq2SeqGenerateOptions
  extends Pick<
    GenerateOptions,
    | ('maxNewTokens' | 'minNewTokens' | 'stop' | 'stopIds' | 'allowedTokens' | 'constraint')
    | ('temperature' | 'topK' | 'topP' | 'minP' | 'seed' | 'logitBias' | 'logprobs' | 'signal')
    | ('repetitionPenalty' | 'presencePenalty' | 'frequencyPenalty')
  > {
  /**
   * Also the expert choice of every decoder layer for every token that is passed: the decoder's start and the new tokens
   * but the last. `encode` gives those of the text. Default false.
   */
  routing?: boolean | undefined
}

export const seq2seqGenerateNames: OptionNames<Seq2SeqGenerateOptions> = {
  ...{ maxNewTokens: true, minNewTokens: true, stop: true, stopIds: true },
  ...{ allowedTokens: true, constraint: true, routing: true },
  ...{ temperature: true, topK: true, topP: true, minP: true, seed: true, logitBias: true },
  ...{ repetitionPenalty: true, presencePenalty: true, frequencyPenalty: true },
  ...{ logprobs: true, signal: true },
}

const traceNames: OptionNames<TraceOptions> = { routing: true, hiddenStates: true }

export function readTraceOptions(where: string, options: TraceOptions): TraceWish {
  checkOptions(where, options, traceNames)
  return {
    routing: flagOption(where, 'routing', options.routing),
    hiddenStates: flagOption(where, 'hiddenStates', options.hiddenStates),
  }
}

/** Whether it is one text, as text or ids, and not a list of them. */
export const isOneText = (given: unknown): boolean =>
  !Array.isArray(given) || (typeof given[0] !== 'string' && typeof given[0] !== 'object')

export const readTexts = <T>(given: unknown, read: (one: unknown) => T): T[] => {
  const bad = () => badOption('encode', 'texts', 'a text, token ids, or a list of them', given)
  return isOneText(given) ? [read(given)] : readList(given, read, bad)
}

function readInput(given: unknown, vocabSize: number): { source: number[]; ids: number[] } {
  const where = 'forward'
  if (typeof given !== 'object' || given === null)
    badOption(where, 'input', 'an object of inputIds and decoderIds', given)
  const { inputIds, decoderIds } = given as Partial<Seq2SeqInput>
  return {
    source: readIds(where, inputIds, vocabSize, 'inputIds'),
    ids: readIds(where, decoderIds, vocabSize, 'decoderIds'),
  }
}

export function readInputs(
  given: Seq2SeqInput | readonly Seq2SeqInput[],
  vocabSize: number,
): { source: number[]; ids: number[] }[] {
  if (!Array.isArray(given)) return [readInput(given, vocabSize)]
  const bad = () => badOption('forward', 'input', 'a list of at least one input', given)
  if (given.length === 0) bad()
  return readList(given, (one) => readInput(one, vocabSize), bad)
}
