import { MoeError, shown } from '../errors.ts'
import type { Json } from '../weights/json.ts'

/**
 * The keys of one architecture's configuration class, and what becomes of each. A key that is in none of the
 * three lists, nor in `commonKeys`, is refused by name: nobody knows what it would change.
 */
export interface ConfigKeys<Used extends string = string> {
  /** Read by the architecture. */
  used: readonly Used[]
  /** Keys that change results in a way that is not implemented: the values that change nothing. Absent is one. */
  only?: Readonly<Record<string, readonly unknown[]>>
  /** Keys that change no result, by the reason. */
  ignored?: Readonly<Record<string, readonly string[]>>
}

/** Keeps the names of `used` as a type, so that an architecture can read no key that its table lacks. */
export const configKeys = <const Used extends string>(keys: ConfigKeys<Used>): ConfigKeys<Used> =>
  keys

/** What transformers and its tools write into any model's configuration. */
export const commonKeys = configKeys({
  used: ['model_type', 'architectures'],
  only: {
    is_encoder_decoder: [false],
    add_cross_attention: [false],
    cross_attention_hidden_size: [],
    tie_encoder_decoder: [false],
    per_layer_config: [{}],
    pruned_heads: [{}],
  },
  ignored: {
    'read elsewhere: how the weights are stored': [
      ...['dtype', 'torch_dtype', 'use_bfloat16', 'quantization_config'],
    ],
    'where the file is from': [
      ...['_name_or_path', 'name_or_path', '_commit_hash', 'transformers_version', 'auto_map'],
      ...['custom_pipelines', 'model_name', 'unsloth_version', 'unsloth_fixed'],
      ...['transformers_weights', 'transformers.js_config'],
    ],
    'how, not what, is computed': [
      ...['attn_implementation', '_attn_implementation', '_attn_implementation_autoset'],
      ...['_attn_implementation_internal', '_flash_attn_2_enabled', 'experts_implementation'],
      ...['_experts_implementation', '_experts_implementation_internal', '_moe_implementation'],
      ...['use_cache', 'chunk_size_feed_forward', 'torchscript', 'pretraining_tp'],
      'tf_legacy_loss',
      ...['gradient_checkpointing', 'is_decoder', 'tensor_parallel_output', 'sequence_parallel'],
    ],
    'what the published class returns': [
      ...['output_attentions', 'output_hidden_states', 'output_router_logits', 'return_dict'],
      ...['use_return_dict', 'keys_to_ignore_at_inference', 'output_past'],
    ],
    'training only': [
      ...['initializer_range', 'router_aux_loss_coef', 'router_z_loss_coef'],
      ...['attention_dropout', 'dropout', 'hidden_dropout', 'embd_pdrop', 'resid_pdrop'],
      ...['hidden_dropout_prob', 'attention_probs_dropout_prob'],
      ...['finetuning_task', 'task_specific_params', 'problem_type', 'num_labels', 'id2label'],
      ...['label2id', 'classifier_dropout', 'summary_type'],
    ],
    'the tokenizer says it': [
      ...['tokenizer_class', 'prefix', 'pad_token_id', 'sep_token_id', 'mask_token_id'],
      ...['unk_token_id', 'cls_token_id', 'decoder_start_token_id', 'model_max_length'],
    ],
    'generation: see checkpointDefaults': [
      ...['max_length', 'max_new_tokens', 'min_length', 'min_new_tokens', 'do_sample', 'num_beams'],
      ...['early_stopping', 'num_beam_groups', 'diversity_penalty', 'temperature', 'top_k'],
      ...['top_p', 'min_p', 'typical_p', 'repetition_penalty', 'length_penalty', 'epsilon_cutoff'],
      ...['no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'encoder_repetition_penalty'],
      ...['bad_words_ids', 'num_return_sequences', 'output_scores', 'return_dict_in_generate'],
      ...['forced_bos_token_id', 'forced_eos_token_id', 'remove_invalid_values', 'eta_cutoff'],
      ...['exponential_decay_length_penalty', 'suppress_tokens', 'begin_suppress_tokens'],
    ],
  },
})

/** The first key that changes results and is not understood, and the values it may have; null is as good as absent. */
export function unknownKey(
  json: Json,
  tables: readonly ConfigKeys[],
): { key: string; expected: string } | undefined {
  const known = new Set(
    tables.flatMap(({ used, ignored = {} }) => [...used, ...Object.values(ignored).flat()]),
  )
  const only = new Map(tables.flatMap((table) => Object.entries(table.only ?? {})))
  for (const [key, value] of Object.entries(json)) {
    if (value === null || value === undefined || known.has(key)) continue
    const allowed = only.get(key)
    if (allowed?.some((one) => one === value || areEmpty(one, value))) continue
    const expected = allowed
      ? allowed.map(shown).join(' or ') || 'null'
      : 'a key whose effect is known'
    return { key, expected }
  }
  return undefined
}

/** Refuses keys that change results and are not understood. */
export function checkKeys(json: Json, tables: readonly ConfigKeys[], where: string): void {
  const unknown = unknownKey(json, tables)
  if (!unknown) return
  const { key, expected } = unknown
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `${where}: ${key} must be ${expected}, got ${shown(json[key])}`,
  )
}

/** Two objects, or two lists, without anything in them. */
const areEmpty = (one: unknown, value: unknown): boolean =>
  Array.isArray(one) === Array.isArray(value) &&
  [one, value].every((v) => typeof v === 'object' && v !== null && Object.keys(v).length === 0)
