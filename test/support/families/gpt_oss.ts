import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const released = {
  ...{ model_type: 'gpt_oss', vocab_size: 201088, hidden_size: 2880, num_attention_heads: 64 },
  ...{ intermediate_size: 2880, num_experts_per_tok: 4, swiglu_limit: 7 },
}

export const gptOss: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'gpt_oss', head_dim: 16, num_key_value_heads: 4 },
    ...{ intermediate_size: 32, num_local_experts: 8 },
  },
  used: {
    ...{ ...decoderUsed, num_attention_heads: 8, head_dim: 24, attention_bias: false },
    ...{ sliding_window: 7, layer_types: ['full_attention', 'sliding_attention'] },
    ...{ intermediate_size: 48, num_local_experts: 9, num_experts_per_tok: 3, swiglu_limit: 5 },
  },
  agreeing: { experts_per_token: 3 },
  published: [
    {
      name: 'gpt-oss-20b',
      config: { ...released, num_hidden_layers: 24, num_local_experts: 32 },
      total: 20_914_757_184,
      active: 3.61e9,
    },
    {
      name: 'gpt-oss-120b',
      config: { ...released, num_hidden_layers: 36, num_local_experts: 128 },
      total: 116_829_156_672,
      active: 5.13e9,
    },
  ],
}
