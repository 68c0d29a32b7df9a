import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const { rope_theta, rope_parameters, rope_scaling } = decoderUsed

export const yuan: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'yuan', eos_token_id: 8 },
    ...{ reset_attention_mask: true, reset_position_ids: true, eod_token: 7 },
    moe_config: { moe_num_experts: 8, moe_top_k: 2, ffn_hidden_size: 32 },
  },
  used: {
    ...{ vocab_size: 301, hidden_size: 128, num_hidden_layers: 3, num_attention_heads: 2 },
    ...{ attention_projection_size: 128, rms_norm_eps: 1e-5, max_position_embeddings: 128 },
    ...{ tie_word_embeddings: false, eod_token: 9, use_flash_attention: true },
    ...{ reset_attention_mask: false, reset_position_ids: false, rotary_base: 5e5 },
    ...{ rope_theta, rope_parameters, rope_scaling },
    moe_config: { moe_num_experts: 9, moe_top_k: 2, ffn_hidden_size: 32 },
    // Where there is no eod_token.
    eos_token_id: { eod_token: null, eos_token_id: 9 },
  },
  agreeing: { num_key_value_heads: 2 },
}
