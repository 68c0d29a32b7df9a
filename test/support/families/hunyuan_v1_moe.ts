import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const each = (value: number) => [value, value]

export const hunyuanV1Moe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'hunyuan_v1_moe', head_dim: 24, intermediate_size: 32 },
    ...{ num_experts: 8, moe_topk: 3 },
  },
  used: {
    ...{ ...decoderUsed, head_dim: 32, num_attention_heads: 8, attention_bias: true },
    ...{ intermediate_size: 48, num_experts: each(9), moe_topk: each(2) },
    rope_scaling: { type: 'dynamic', alpha: 1000, factor: 1, beta_fast: 32 },
  },
  agreeing: { attention_head_dim: 16, moe_intermediate_size: each(31), num_shared_expert: each(2) },
  published: [
    {
      name: 'Hunyuan-A13B, as it was first released',
      config: {
        ...{ model_type: 'hunyuan', architectures: ['HunYuanMoEV1ForCausalLM'] },
        ...{ vocab_size: 128167, hidden_size: 4096, attention_head_dim: 128, image_token_id: 9 },
        ...{ num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8 },
        ...{ intermediate_size: 3072, num_experts: 64, moe_topk: Array(32).fill(8) },
        ...{ moe_intermediate_size: Array(32).fill(3072), num_shared_expert: Array(32).fill(1) },
        rope_scaling: { type: 'dynamic', alpha: 1000, factor: 1, mscale: 1, mscale_all_dim: 1 },
        tie_word_embeddings: true,
      },
      total: 80_393_183_232,
    },
    {
      name: 'Hunyuan-A13B',
      config: {
        ...{ model_type: 'hunyuan_v1_moe', vocab_size: 128167, hidden_size: 4096, head_dim: 128 },
        ...{ num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8 },
        ...{ intermediate_size: 3072, num_experts: 64, moe_topk: 8, tie_word_embeddings: true },
      },
      total: 80_393_183_232,
    },
  ],
}
