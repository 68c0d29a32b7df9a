const shape = { vocab_size: 100, num_attention_heads: 2, num_hidden_layers: 2 }

/** Small models of every family, as wide as a test needs. */
export const randomConfigs = (hidden: number, intermediate: number) => ({
  yuan: {
    ...{ ...shape, model_type: 'yuan', hidden_size: hidden },
    moe_config: {
      ...{ moe_num_experts: 4, moe_top_k: 2, ffn_hidden_size: intermediate },
      gated_linear_unit: true,
    },
  },
  moepp: {
    ...{ ...shape, model_type: 'MoE++', hidden_size: hidden, intermediate_size: intermediate },
    ...{ num_experts: [8], moe_use_logits_norm: true, moe_feature_no_mul_topk: true },
    moe_2layer_gate: false,
  },
  mixtral: {
    ...{ ...shape, model_type: 'mixtral', hidden_size: hidden, intermediate_size: intermediate },
    ...{ num_local_experts: 4, num_experts_per_tok: 2 },
  },
  llamaMoe: {
    ...{ ...shape, model_type: 'llama_moe', hidden_size: hidden },
    ...{ intermediate_size: 4 * intermediate, num_experts: 4, num_selects: 2 },
    score_scale_factor: 2,
  },
  deepseekV3: {
    ...{
      ...shape,
      model_type: 'deepseek_v3',
      hidden_size: hidden,
      intermediate_size: intermediate,
    },
    ...{ moe_intermediate_size: intermediate, n_routed_experts: 4, num_experts_per_tok: 2 },
    ...{ n_group: 2, topk_group: 1, first_k_dense_replace: 0, q_lora_rank: 40 },
    ...{ kv_lora_rank: 48, qk_nope_head_dim: 24, qk_rope_head_dim: 16, v_head_dim: 24 },
  },
  gptOss: {
    ...{ ...shape, model_type: 'gpt_oss', hidden_size: hidden, intermediate_size: intermediate },
    ...{ num_key_value_heads: 1, head_dim: 16, sliding_window: 12 },
    ...{ num_local_experts: 6, num_experts_per_tok: 3 },
  },
})
