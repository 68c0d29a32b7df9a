import { decoderUsed } from './samples.ts'

/** Sizes of latent attention that random models are made with. */
export const latentBase = {
  ...{ q_lora_rank: 24, kv_lora_rank: 32, qk_nope_head_dim: 16, qk_rope_head_dim: 8 },
  v_head_dim: 12,
}

/** Used keys of all families with latent attention. */
export const latentUsed = {
  ...{ vocab_size: 301, hidden_size: 128, num_attention_heads: 2 },
  ...{ rms_norm_eps: 1e-3, max_position_embeddings: 128, tie_word_embeddings: true },
  ...{ bos_token_id: 5, eos_token_id: [5, 6], rope_theta: 5e5 },
  ...{ rope_parameters: decoderUsed.rope_parameters, rope_scaling: decoderUsed.rope_scaling },
  ...{ q_lora_rank: null, kv_lora_rank: 40, qk_nope_head_dim: 18, qk_rope_head_dim: 10 },
  ...{ v_head_dim: 14, attention_bias: true },
}

export const latentAgreeing = { num_key_value_heads: 2, qk_head_dim: 25, head_dim: 9 }

/** Of the released models. */
export const publishedLatent = {
  ...{ q_lora_rank: 1536, kv_lora_rank: 512, qk_nope_head_dim: 128, qk_rope_head_dim: 64 },
  v_head_dim: 128,
}
