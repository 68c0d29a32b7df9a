import { nearest } from '../option_names.ts'
import { unsupported } from './failure.ts'
import type { Fields } from './fields.ts'

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
  ...{ num_beams: [1], no_repeat_ngram_size: [0], epsilon_cutoff: [0] },
  ...{ eta_cutoff: [0], top_a: [0] },
}

const template = [
  ...['add_generation_prompt', 'continue_final_message', 'chat_template_kwargs', 'chat_template'],
]
const common = [
  ...['model', 'max_tokens', 'n_predict', 'n', 'best_of', 'stream', 'stream_options', 'stop'],
  ...['stop_token_ids', 'ignore_eos', 'min_tokens', 'temperature', 'top_k', 'top_p', 'min_p'],
  ...['seed', 'repetition_penalty', 'repeat_penalty', 'presence_penalty', 'frequency_penalty'],
  ...['logit_bias', 'allowed_token_ids', 'priority', 'logprobs', 'prompt_logprobs', 'routing'],
  ...['response_format', 'structured_outputs', 'cache_salt', 'return_token_ids'],
  ...['guided_json', 'guided_regex', 'guided_choice', 'guided_grammar', 'add_special_tokens'],
]

/** What is read where. A name that is nearly one of these is a slip; other names are of other servers. */
const read = {
  chat: [
    ...[...common, ...template, 'messages', 'max_completion_tokens', 'top_logprobs'],
    ...['tools', 'tool_choice', 'parallel_tool_calls'],
  ],
  text: [...common, 'prompt', 'echo'],
  stream: ['include_usage'],
  tokenize: [
    ...[...template, 'model', 'prompt', 'content', 'messages', 'tools'],
    ...['add_special_tokens', 'add_special'],
  ],
  detokenize: ['model', 'tokens'],
  template: [...template, 'model', 'messages', 'tools'],
} as const satisfies Record<string, readonly string[]>

/** Values that change nothing, of fields that some routes heed and others do not. */
const elsewhere: {
  readonly [kind in keyof typeof read]: Readonly<Record<string, readonly unknown[]>>
} = {
  chat: { echo: [false] },
  text: {
    ...{ max_completion_tokens: [], top_logprobs: [0], tools: [] },
    ...{ tool_choice: ['none', 'auto'], continue_final_message: [false], chat_template_kwargs: [] },
  },
  stream: { continuous_usage_stats: [false] },
  tokenize: { with_pieces: [false], return_token_strs: [false], parse_special: [true] },
  detokenize: { skip_special_tokens: [false] },
  template: {},
}

/** Names that are compared with those that are read: each takes a tenth of a millisecond. */
const maxCompared = 32

/** @throws {Failure} for a field that another server heeds, or that is nearly the name of one that is read here */
export function checkNames(fields: Fields, kind: keyof typeof read): void {
  const known: readonly string[] = read[kind]
  const completes = kind === 'chat' || kind === 'text'
  const harmless = { ...(completes && refused), ...elsewhere[kind] }
  for (const [name, values] of Object.entries(harmless)) {
    const value = fields.value(name)
    const empty = typeof value === 'object' && value !== null && Object.keys(value).length === 0
    if (value !== undefined && !empty && !values.includes(value))
      unsupported(fields.path(name), `this ${completes ? 'server' : 'route'} does not do it`)
  }
  const others = fields.names.filter(
    (name) => !known.includes(name) && !Object.hasOwn(harmless, name),
  )
  for (const name of others.slice(0, maxCompared)) {
    const near = nearest(name, known)
    if (near) unsupported(fields.path(name), `there is no such field; did you mean ${near}?`)
  }
}
