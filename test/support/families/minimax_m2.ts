import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const miniMaxM2: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'minimax_m2', head_dim: 24, num_key_value_heads: 4 },
    ...{ intermediate_size: 32, num_local_experts: 8, num_experts_per_tok: 3, rotary_dim: 8 },
  },
  used: {
    ...{ ...decoderUsed, head_dim: 32, num_attention_heads: 8, rotary_dim: 6 },
    partial_rotary_factor: { rotary_dim: null, partial_rotary_factor: 0.25 },
    ...{ intermediate_size: 48, num_local_experts: 9, num_experts_per_tok: 2 },
    num_experts: { num_local_experts: null, num_experts: 9 },
  },
  agreeing: { attn_type_list: [1, 0] },
  published: [
    {
      name: 'MiniMax-M2',
      config: {
        // As the first release's class says it, with what it adds.
        ...{ model_type: 'minimax', architectures: ['MiniMaxM2ForCausalLM'] },
        ...{ use_grouped_topk: true, num_expert_group: null, routed_scaling_factor: 1 },
        ...{ vocab_size: 200064, hidden_size: 3072, head_dim: 128 },
        ...{ num_hidden_layers: 62, num_attention_heads: 48, num_key_value_heads: 8 },
        ...{ intermediate_size: 1536, num_local_experts: 256, num_experts_per_tok: 8 },
        rotary_dim: 64,
      },
      total: 228_689_764_864,
    },
  ],
}
