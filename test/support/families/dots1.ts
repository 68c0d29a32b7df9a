import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const dots1: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'dots1', intermediate_size: 40, num_key_value_heads: 4 },
    ...{ moe_intermediate_size: 32, n_routed_experts: 8, num_experts_per_tok: 3 },
    ...{ n_shared_experts: 2, n_group: 4, topk_group: 2, max_window_layers: 1 },
  },
  used: {
    ...{ ...decoderUsed, head_dim: 32, num_attention_heads: 8, intermediate_size: 56 },
    ...{ moe_intermediate_size: 48, n_routed_experts: 12, num_experts_per_tok: 2 },
    ...{ n_shared_experts: 1, first_k_dense_replace: 1, n_group: 2, topk_group: 3 },
    ...{ norm_topk_prob: true, routed_scaling_factor: 2.5, attention_bias: true },
    ...{ sliding_window: 7, max_window_layers: 0 },
    layer_types: ['sliding_attention', 'full_attention'],
  },
  agreeing: { use_sliding_window: false },
  published: [
    {
      name: 'dots.llm1',
      config: {
        ...{ model_type: 'dots1', vocab_size: 152064, hidden_size: 4096, num_hidden_layers: 62 },
        ...{ num_attention_heads: 32, num_key_value_heads: 32, intermediate_size: 10944 },
        ...{ moe_intermediate_size: 1408, n_routed_experts: 128, num_experts_per_tok: 6 },
        ...{ n_shared_experts: 2, first_k_dense_replace: 1, sliding_window: null },
        ...{ use_sliding_window: false, scoring_func: 'noaux_tc', moe_layer_freq: 1 },
      },
      total: 142_774_381_696,
    },
  ],
}
