import { MoeError, shown } from '../errors.ts'
import { configKeys, unknownKey } from '../models/config_keys.ts'
import { numberOption } from '../options.ts'
import type { Json } from '../weights/json.ts'
import { ranges, type SamplingOptions } from './sampling.ts'

/** What a checkpoint asks for where the caller says nothing. */
export interface CheckpointDefaults extends SamplingOptions {
  maxNewTokens?: number | undefined
  stop?: readonly string[] | undefined
  /** The sentence that a generation fails with: the file asks for what nobody here does. */
  unsupported?: string | undefined
}

/** Keys of transformers' GenerationConfig. */
export const generationKeys = configKeys({
  used: [
    ...(['do_sample', 'max_new_tokens', 'stop_strings', 'eos_token_id'] as const),
    ...(['temperature', 'top_k', 'top_p', 'min_p', 'repetition_penalty'] as const),
  ],
  only: {
    num_beams: [1],
    num_return_sequences: [1],
    penalty_alpha: [0],
    dola_layers: [],
    min_length: [0],
    min_new_tokens: [0],
    max_time: [],
    no_repeat_ngram_size: [0],
    encoder_no_repeat_ngram_size: [0],
    encoder_repetition_penalty: [1],
    bad_words_ids: [[]],
    force_words_ids: [[]],
    constraints: [[]],
    suppress_tokens: [[]],
    begin_suppress_tokens: [[]],
    sequence_bias: [{}, []],
    forced_bos_token_id: [],
    forced_eos_token_id: [],
    forced_decoder_ids: [[]],
    exponential_decay_length_penalty: [],
    guidance_scale: [1],
    watermarking_config: [],
    token_healing: [false],
    generation_kwargs: [{}],
  },
  ignored: {
    'bounds of memory: maxNewTokens and the cache are': ['max_length', 'max_window_size'],
    'of beams only, which num_beams refuses': [
      ...['early_stopping', 'length_penalty', 'num_beam_groups', 'diversity_penalty', 'low_memory'],
    ],
    'the sampler normalises anyway, and logits that are not finite are errors': [
      ...['renormalize_logits', 'remove_invalid_values'],
    ],
    'the tokenizer says it': ['bos_token_id', 'pad_token_id', 'decoder_start_token_id'],
    'how, not what, is computed': [
      ...['use_cache', 'cache_implementation', 'cache_config', 'return_legacy_cache'],
      ...['prefill_chunk_size', 'compile_config', 'disable_compile', 'is_assistant'],
      ...['num_assistant_tokens', 'num_assistant_tokens_schedule', 'assistant_early_exit'],
      ...['assistant_confidence_threshold', 'assistant_lookbehind', 'target_lookbehind'],
      ...['prompt_lookup_num_tokens', 'max_matching_ngram_size'],
    ],
    'what the published method returns': [
      ...['output_attentions', 'output_hidden_states', 'output_scores', 'output_logits'],
      ...['return_dict_in_generate'],
    ],
    'where the file is from': [
      ...['_from_model_config', '_commit_hash', '_original_object_hash', 'transformers_version'],
      ...['trust_remote_code', 'chat_format'],
    ],
  },
})

/** Keys that count with do_sample alone. */
const samplingKeys = configKeys({
  used: [],
  only: { typical_p: [1], epsilon_cutoff: [0], eta_cutoff: [0], top_h: [] },
})
const withoutSampling = configKeys({
  used: [],
  ignored: { 'without do_sample': Object.keys(samplingKeys.only!) },
})

/** What a checkpoint says of generation: its own file, or as older ones do config.json. */
export interface GenerationFile {
  name: string
  json: Json
}

export function generationFile(own: Json | undefined, config: Json): GenerationFile {
  if (own) return { name: 'generation_config.json', json: own }
  const { used, only } = generationKeys
  const names: string[] = [...used, ...Object.keys({ ...only, ...samplingKeys.only })]
  const keys = names.filter((key) => key !== 'eos_token_id' && Object.hasOwn(config, key))
  return { name: 'config.json', json: Object.fromEntries(keys.map((key) => [key, config[key]])) }
}

const bad = (message: string, cause?: unknown): never => {
  throw new MoeError('ERR_MOE_CHECKPOINT', message, { cause })
}

/** Strings that end a text; none of them is empty. */
function readStops(where: string, value: unknown): readonly string[] | undefined {
  if (value === null || value === undefined) return undefined
  const list: unknown[] = Array.isArray(value) ? value : [value]
  const ok = list.every((one): one is string => typeof one === 'string' && one !== '')
  const expected = 'a string or a list of strings, none empty'
  return ok ? list : bad(`${where}: stop_strings must be ${expected}, got ${shown(value)}`)
}

/**
 * What the file asks for where a caller says nothing; sampling values count only with do_sample. What changes results
 * and is not known here ends no load, since a caller may do without the file: see `unsupported`.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT naming the key, so that no caller is blamed for it
 */
export function checkpointDefaults({ name: where, json }: GenerationFile): CheckpointDefaults {
  const read = (key: string, name: keyof typeof ranges): number | undefined => {
    const value = json[key] ?? undefined
    if (value === undefined) return undefined
    try {
      return numberOption(key, value, { ...ranges[name], where })
    } catch (cause) {
      return bad((cause as Error).message, cause)
    }
  }
  const samples = json.do_sample ?? false
  if (typeof samples !== 'boolean')
    bad(`${where}: do_sample must be true or false, got ${shown(samples)}`)
  const unknown = unknownKey(json, [generationKeys, samples ? samplingKeys : withoutSampling])
  const always: CheckpointDefaults = {
    maxNewTokens: read('max_new_tokens', 'maxNewTokens'),
    repetitionPenalty: read('repetition_penalty', 'repetitionPenalty'),
    stop: readStops(where, json.stop_strings),
    unsupported:
      unknown &&
      `generate: ${unknown.key} of ${where} must be ${unknown.expected}, got ${shown(json[unknown.key])}; ` +
        'loadModel with generationDefaults: false does without what the file says',
  }
  if (!samples) return always
  return {
    ...always,
    temperature: read('temperature', 'temperature') ?? 1,
    topK: read('top_k', 'topK'),
    topP: read('top_p', 'topP'),
    minP: read('min_p', 'minP'),
  }
}
