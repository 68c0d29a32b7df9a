export type Json = Record<string, unknown>

/** What tests of configurations have to know of a family. */
export interface FamilySamples {
  /** A small complete configuration; random models are made of it, too. */
  base: Json
  /** Another value for each used key, or a whole change; it changes the result. */
  used: Json
  /** Used keys that may only agree with another one: a value that does not. */
  agreeing?: Json
  /** Released models, with the numbers of parameters that their publishers or specifications give. */
  published?: readonly Published[]
}

export interface Published {
  name: string
  config: Json
  total: number
  /** For one token, without the embedding table. */
  active?: number
}

export const bounds = {
  ...{ vocab_size: 300, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4 },
}

/** Used keys that all families with Llama's attention have. */
export const decoderUsed = {
  ...{ vocab_size: 301, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 },
  ...{ num_key_value_heads: 2, rms_norm_eps: 1e-3, max_position_embeddings: 128 },
  ...{ tie_word_embeddings: true, bos_token_id: 5, eos_token_id: [5, 6] },
  rope_theta: 5e5,
  rope_parameters: { rope_type: 'default', rope_theta: 5e5 },
  rope_scaling: { rope_type: 'default', rope_theta: 5e5 },
}
