import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const qwen2Moe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'qwen2_moe', num_experts: 8, num_experts_per_tok: 3 },
    ...{ moe_intermediate_size: 32, shared_expert_intermediate_size: 40 },
    ...{ intermediate_size: 40, mlp_only_layers: [1] },
  },
  used: {
    ...{
      ...decoderUsed,
      num_experts: 9,
      num_local_experts: { num_experts: null, num_local_experts: 9 },
    },
    ...{ num_experts_per_tok: 2, norm_topk_prob: true, qkv_bias: false },
    ...{ moe_intermediate_size: 48, shared_expert_intermediate_size: 56 },
    ...{ intermediate_size: 56, mlp_only_layers: [0], decoder_sparse_step: 2 },
  },
  agreeing: { layer_types: ['sliding_attention', 'sliding_attention'] },
  published: [
    {
      name: 'Qwen1.5-MoE-A2.7B',
      config: {
        ...{ model_type: 'qwen2_moe', vocab_size: 151936, hidden_size: 2048 },
        ...{ num_hidden_layers: 24, num_attention_heads: 16, num_key_value_heads: 16 },
        ...{ num_experts: 60, num_experts_per_tok: 4, moe_intermediate_size: 1408 },
        ...{ shared_expert_intermediate_size: 5632, intermediate_size: 5632 },
      },
      total: 14_315_784_192,
      active: 2.378e9,
    },
    {
      name: 'Qwen2-57B-A14B',
      config: {
        ...{ model_type: 'qwen2_moe', vocab_size: 151936, hidden_size: 3584 },
        ...{ num_hidden_layers: 28, num_attention_heads: 28, num_key_value_heads: 4 },
        ...{ num_experts: 64, num_experts_per_tok: 8, moe_intermediate_size: 2560 },
        ...{ shared_expert_intermediate_size: 20480, intermediate_size: 18944 },
      },
      total: 57_408_658_944,
      active: 13.7e9,
    },
  ],
}
