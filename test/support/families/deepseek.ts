import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const deepseek: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'deepseek', intermediate_size: 40, moe_intermediate_size: 32 },
    ...{
      n_routed_experts: 8,
      num_experts_per_tok: 3,
      n_shared_experts: 2,
      first_k_dense_replace: 1,
    },
  },
  used: {
    ...{ ...decoderUsed, intermediate_size: 56, moe_intermediate_size: 48, attention_bias: true },
    ...{
      n_routed_experts: 9,
      num_experts_per_tok: 2,
      n_shared_experts: null,
      norm_topk_prob: true,
    },
    ...{ first_k_dense_replace: 0, moe_layer_freq: 2 },
  },
  published: [
    {
      name: 'deepseek-moe-16b',
      config: {
        ...{ model_type: 'deepseek', vocab_size: 102400, hidden_size: 2048, num_hidden_layers: 28 },
        ...{ num_attention_heads: 16, intermediate_size: 10944, moe_intermediate_size: 1408 },
        ...{ n_routed_experts: 64, num_experts_per_tok: 6, n_shared_experts: 2 },
        first_k_dense_replace: 1,
      },
      total: 16_375_728_128,
      active: 2.62e9,
    },
  ],
}
