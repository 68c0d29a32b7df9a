import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const olmoe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'olmoe', intermediate_size: 32 },
    ...{ num_experts: 8, num_experts_per_tok: 3 },
  },
  used: {
    ...{ ...decoderUsed, intermediate_size: 48, attention_bias: true, clip_qkv: 1.5 },
    ...{ num_experts: 9, num_local_experts: { num_experts: null, num_local_experts: 9 } },
    ...{ num_experts_per_tok: 2, norm_topk_prob: true },
  },
  agreeing: { head_dim: 32 },
  published: [
    {
      name: 'OLMoE-1B-7B',
      config: {
        ...{ model_type: 'olmoe', vocab_size: 50304, hidden_size: 2048, num_hidden_layers: 16 },
        ...{ num_attention_heads: 16, intermediate_size: 1024, num_experts: 64 },
        num_experts_per_tok: 8,
      },
      total: 6_919_161_856,
      active: 1_178_994_688,
    },
  ],
}
