import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const ling = {
  ...{ model_type: 'bailing_moe', vocab_size: 157184, head_dim: 128, num_experts: 256 },
  ...{ num_experts_per_tok: 8, num_shared_experts: 1, partial_rotary_factor: 0.5 },
  score_function: 'sigmoid',
}

export const bailingMoeV2: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'bailing_moe_v2', head_dim: 24, intermediate_size: 40 },
    ...{ moe_intermediate_size: 32, num_experts: 8, num_experts_per_tok: 3, rotary_dim: 8 },
    ...{ n_group: 4, topk_group: 2, first_k_dense_replace: 1, score_function: 'sigmoid' },
  },
  used: {
    ...{ ...decoderUsed, head_dim: 32, num_attention_heads: 8, rotary_dim: 6 },
    partial_rotary_factor: { rotary_dim: null, partial_rotary_factor: 0.25 },
    ...{ use_qkv_bias: true, use_bias: true, intermediate_size: 56, moe_intermediate_size: 48 },
    ...{ num_experts: 12, num_experts_per_tok: 2, num_shared_experts: 1 },
    ...{ first_k_dense_replace: 0, n_group: 2, topk_group: 3, routed_scaling_factor: 1 },
    num_nextn_predict_layers: 2,
  },
  agreeing: {
    ...{ moe_shared_expert_intermediate_size: 32, norm_topk_prob: false },
    ...{ score_function: 'softmax', layer_types: ['full_attention', 'sliding_attention'] },
  },
}

export const bailingMoe: FamilySamples = {
  ...bailingMoeV2,
  base: { ...bailingMoeV2.base, model_type: 'bailing_moe' },
  published: [
    {
      name: 'Ling-mini-2.0',
      config: {
        ...{ ...ling, hidden_size: 2048, num_hidden_layers: 20, num_attention_heads: 16 },
        ...{ num_key_value_heads: 4, intermediate_size: 5120, moe_intermediate_size: 512 },
        first_k_dense_replace: 1,
      },
      total: 16_255_643_392,
    },
    {
      name: 'Ling-flash-2.0',
      config: {
        ...{ ...ling, hidden_size: 4096, num_hidden_layers: 32, num_attention_heads: 32 },
        ...{ num_key_value_heads: 4, intermediate_size: 9216, moe_intermediate_size: 1024 },
        first_k_dense_replace: 1,
      },
      total: 102_889_705_216,
    },
    {
      name: 'Ling-1T',
      config: {
        ...{ ...ling, hidden_size: 8192, num_hidden_layers: 80, num_attention_heads: 64 },
        ...{ num_key_value_heads: 8, intermediate_size: 18432, moe_intermediate_size: 2048 },
        first_k_dense_replace: 4,
      },
      total: 999_705_328_640,
    },
  ],
}
