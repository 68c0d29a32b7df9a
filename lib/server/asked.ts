import type { GenerateOptions } from '../engine/completion.ts'
import type { Served } from './exchange.ts'
import { badParam, Failure, unsupported } from './failure.ts'
import type { Fields } from './fields.ts'
import { checkNames } from './names.ts'
import { readBias, readConstraint } from './structured.ts'

/** What both kinds of completions are asked for alike. */
export interface Asked {
  options: GenerateOptions
  n: number
  stream: boolean
  includeUsage: boolean
  returnTokenIds: boolean
  routing: boolean
}

/** Sequences of one request. */
const maxChoices = 16

const list = (param: string, value: unknown): string[] | undefined => {
  if (value === undefined) return undefined
  const all: unknown[] = Array.isArray(value) ? value : [value]
  const ok = all.every((one): one is string => typeof one === 'string' && one !== '')
  return ok ? all : badParam(param, 'a string or a list of strings, none empty', value)
}

/** Most new tokens, as OpenAI or llama.cpp has it. */
export const readMaxTokens = (fields: Fields): number | undefined =>
  fields.number('max_tokens', true) ?? fields.number('n_predict', true)

/**
 * What a request names as its model: the model, or one of its adapters.
 *
 * @throws {Failure} 404 where another is asked for
 */
export function servedAs(fields: Fields, served: Served): Served {
  const name = fields.text('model')
  if (name === undefined || name === served.name) return served
  if (served.model.adapters.some((adapter) => adapter.name === name))
    return { ...served, name, adapter: name }
  throw new Failure(404, `the model ${JSON.stringify(name.slice(0, 200))} does not exist`, {
    param: 'model',
    code: 'model_not_found',
  })
}

/** The seed of one of several choices: each has its own. */
export function seedOf(seed: number | undefined, index: number): number | undefined {
  if (seed === undefined) return undefined
  const first = seed <= Number.MAX_SAFE_INTEGER - index ? seed : seed - Number.MAX_SAFE_INTEGER - 1
  return first + index
}

/** Reads what does not depend on the kind of completion. Ranges are the library's business. */
export function readAsked(
  fields: Fields,
  { model, adapter }: Served,
  maxNewTokens: number | undefined,
  signal: AbortSignal,
  kind: 'chat' | 'text',
): Asked {
  checkNames(fields, kind)
  const streamed = fields.flag('stream') ?? false
  const inStreams = fields.object('stream_options')
  if (inStreams) checkNames(inStreams, 'stream')
  const usage = inStreams?.flag('include_usage') ?? false
  const bestOf = fields.number('best_of', true)
  const n = fields.within('n', 1, maxChoices) ?? 1
  if (bestOf !== undefined && bestOf !== n) unsupported('best_of', 'it must be n')
  const stopIds = (fields.list('stop_token_ids') ?? []) as number[]
  const ignoreEnd = fields.flag('ignore_eos') ?? false
  const routing = fields.flag('routing') ?? false
  // vLLM's clients say -1 for none of either.
  const [topK, seed] = [fields.number('top_k', true), fields.number('seed', true)]
  return {
    n,
    routing,
    stream: streamed,
    includeUsage: usage,
    returnTokenIds: fields.flag('return_token_ids') ?? false,
    options: {
      maxNewTokens,
      stop: list('stop', fields.value('stop')),
      stopIds: ignoreEnd ? stopIds : { also: stopIds },
      minNewTokens: fields.number('min_tokens', true),
      // As OpenAI's: whoever says nothing gets samples, unless the checkpoint says how.
      temperature: fields.number('temperature') ?? model.generationDefaults.temperature ?? 1,
      topK: topK === -1 ? 0 : topK,
      topP: fields.number('top_p'),
      minP: fields.number('min_p'),
      repetitionPenalty: fields.number('repetition_penalty') ?? fields.number('repeat_penalty'),
      presencePenalty: fields.number('presence_penalty'),
      frequencyPenalty: fields.number('frequency_penalty'),
      logitBias: readBias(fields),
      allowedTokens: fields.list('allowed_token_ids') as number[] | undefined,
      constraint: readConstraint(fields),
      seed: seed === -1 ? undefined : seed,
      priority: fields.number('priority', true),
      cacheSalt: fields.text('cache_salt'),
      adapter,
      routing: routing ? 'new' : false,
      signal,
    },
  }
}
