import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const released = {
  ...{ model_type: 'qwen3_moe', vocab_size: 151936, head_dim: 128, num_experts: 128 },
  ...{ num_experts_per_tok: 8, norm_topk_prob: true, num_key_value_heads: 4 },
}

export const qwen3Moe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'qwen3_moe', head_dim: 24, num_experts: 8, num_experts_per_tok: 3 },
    ...{ moe_intermediate_size: 32, intermediate_size: 40, mlp_only_layers: [1] },
  },
  used: {
    ...{
      ...decoderUsed,
      head_dim: 32,
      num_experts: 9,
      num_local_experts: { num_experts: null, num_local_experts: 9 },
    },
    ...{ num_experts_per_tok: 2, norm_topk_prob: true, attention_bias: true },
    ...{
      moe_intermediate_size: 48,
      intermediate_size: 56,
      mlp_only_layers: [0],
      decoder_sparse_step: 2,
    },
    num_attention_heads: 8,
    use_sliding_window: true,
    sliding_window: { use_sliding_window: true, sliding_window: 7 },
  },
  agreeing: { layer_types: ['sliding_attention', 'sliding_attention'] },
  published: [
    {
      name: 'Qwen3-30B-A3B',
      config: {
        ...{ ...released, hidden_size: 2048, num_hidden_layers: 48, num_attention_heads: 32 },
        ...{ intermediate_size: 6144, moe_intermediate_size: 768 },
      },
      total: 30_532_122_624,
      active: 3.042e9,
    },
    {
      name: 'Qwen3-235B-A22B',
      config: {
        ...{ ...released, hidden_size: 4096, num_hidden_layers: 94, num_attention_heads: 64 },
        ...{ intermediate_size: 12288, moe_intermediate_size: 1536 },
      },
      total: 235_093_634_560,
      active: 21.57e9,
    },
    {
      name: 'Qwen3-Coder-480B-A35B',
      config: {
        ...{ ...released, hidden_size: 6144, num_hidden_layers: 62, num_attention_heads: 96 },
        ...{ num_key_value_heads: 8, num_experts: 160, intermediate_size: 8192 },
        ...{ moe_intermediate_size: 2560, qkv_bias: false, use_qk_norm: true },
        shared_expert_intermediate_size: 0,
      },
      total: 480_154_875_392,
      active: 34.54e9,
    },
  ],
}
