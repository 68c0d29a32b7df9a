import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const released = {
  ...{ model_type: 'glm4_moe', vocab_size: 151552, num_attention_heads: 96, head_dim: 128 },
  ...{ num_experts_per_tok: 8, attention_bias: true },
}

export const glm4Moe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'glm4_moe', head_dim: 24, num_key_value_heads: 4 },
    ...{ moe_intermediate_size: 32, intermediate_size: 40, n_routed_experts: 8 },
    ...{ num_experts_per_tok: 3, n_group: 4, topk_group: 2 },
  },
  used: {
    ...{ ...decoderUsed, head_dim: 32, num_attention_heads: 8, partial_rotary_factor: 0.25 },
    ...{ moe_intermediate_size: 48, intermediate_size: 56, n_routed_experts: 12 },
    ...{ num_experts_per_tok: 2, n_shared_experts: 2, first_k_dense_replace: 0 },
    ...{ n_group: 2, topk_group: 3, norm_topk_prob: false, routed_scaling_factor: 2.5 },
    ...{ attention_bias: true, use_qk_norm: true, num_nextn_predict_layers: 2 },
  },
  published: [
    {
      name: 'GLM-4.5-Air',
      config: {
        ...{ ...released, hidden_size: 4096, num_hidden_layers: 46, intermediate_size: 10944 },
        ...{ moe_intermediate_size: 1408, n_routed_experts: 128, first_k_dense_replace: 1 },
        rope_theta: 1e6,
      },
      total: 106_852_251_264,
    },
    {
      name: 'GLM-4.5, GLM-4.6',
      config: {
        ...{ ...released, hidden_size: 5120, num_hidden_layers: 92, intermediate_size: 12288 },
        ...{ moe_intermediate_size: 1536, n_routed_experts: 160, first_k_dense_replace: 3 },
        ...{ routed_scaling_factor: 2.5, use_qk_norm: true, rope_theta: 1e6 },
      },
      total: 352_797_829_024,
    },
  ],
}
