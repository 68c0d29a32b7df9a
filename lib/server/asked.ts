import type { GenerateOptions } from '../engine/completion.ts'
import { nearest } from '../option_names.ts'
import type { Served } from './exchange.ts'
import { badParam, Failure, unsupported } from './failure.ts'
import type { Fields } from './fields.ts'
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

/** Fields whose values other than these would change the answer, which nobody here does. */
const refused: Readonly<Record<string, readonly unknown[]>> = {
  ...{ suffix: [''], functions: [], function_call: ['none'], modalities: [], audio: [] },
  // vLLM's
  ...{ bad_words: [], use_beam_search: [false], length_penalty: [1], prompt_embeds: [] },
  ...{ include_stop_str_in_output: [false], skip_special_tokens: [true] },
  ...{ spaces_between_special_tokens: [true], truncate_prompt_tokens: [] },
  // llama.cpp's
  ...{ typical_p: [1], mirostat: [0], xtc_probability: [0], dry_multiplier: [0] },
  ...{ dynatemp_range: [0], top_n_sigma: [-1], repeat_last_n: [-1], t_max_predict_ms: [] },
  ...{ grammar: [''], json_schema: [], lora: [], tfs_z: [1] },
  // SGLang's
  ...{ regex: [], ebnf: [], stop_regex: [], lora_path: [] },
  // transformers'
  ...{
    num_beams: [1],
    no_repeat_ngram_size: [0],
    epsilon_cutoff: [0],
    eta_cutoff: [0],
    top_a: [0],
  },
}

/** Fields that are read: a name that is nearly one of them is a slip, other names are of other servers. */
const read = [
  ...['model', 'messages', 'prompt', 'max_tokens', 'max_completion_tokens', 'n_predict', 'n'],
  ...['best_of', 'stream', 'stream_options', 'stop', 'stop_token_ids', 'ignore_eos', 'min_tokens'],
  ...['temperature', 'top_k', 'top_p', 'min_p', 'seed', 'repetition_penalty', 'repeat_penalty'],
  ...['presence_penalty', 'frequency_penalty', 'logit_bias', 'allowed_token_ids', 'priority'],
  ...['logprobs', 'top_logprobs', 'prompt_logprobs', 'echo', 'tools', 'tool_choice', 'routing'],
  ...['parallel_tool_calls', 'response_format', 'structured_outputs', 'chat_template_kwargs'],
  ...['add_generation_prompt', 'continue_final_message', 'cache_salt', 'return_token_ids'],
  ...['chat_template', 'add_special_tokens'],
  ...['guided_json', 'guided_regex', 'guided_choice', 'guided_grammar'],
]

function refuse(fields: Fields): void {
  for (const [name, harmless] of Object.entries(refused)) {
    const value = fields.value(name)
    const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0
    if (value !== undefined && !empty && !harmless.includes(value))
      unsupported(name, 'this server does not do it')
  }
  for (const name of fields.names) {
    if (read.includes(name) || Object.hasOwn(refused, name)) continue
    const near = nearest(name, read)
    if (near) unsupported(name, `there is no such field; did you mean ${near}?`)
  }
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

/** Reads what does not depend on the kind of completion. Ranges are the library's business. */
export function readAsked(
  fields: Fields,
  { model, adapter }: Served,
  maxNewTokens: number | undefined,
  signal: AbortSignal,
): Asked {
  refuse(fields)
  const streamed = fields.flag('stream') ?? false
  const usage = fields.object('stream_options')?.flag('include_usage') ?? false
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
