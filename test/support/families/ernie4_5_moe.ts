import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const released = { model_type: 'ernie4_5_moe', vocab_size: 103424, moe_num_experts: 64 }

export const ernie45Moe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'ernie4_5_moe', intermediate_size: 40, moe_k: 3 },
    ...{ moe_intermediate_size: 32, moe_num_experts: 8, rope_theta: 10000 },
  },
  used: {
    ...{ ...decoderUsed, num_key_value_heads: 2, tie_word_embeddings: false, head_dim: 32 },
    ...{ num_attention_heads: 8, intermediate_size: 56, moe_intermediate_size: 48 },
    ...{ moe_num_experts: 9, moe_k: 2, moe_num_shared_experts: 0, moe_layer_start_index: 0 },
    ...{ moe_layer_end_index: 0, moe_layer_interval: 3 },
  },
  published: [
    {
      name: 'ERNIE-4.5-21B-A3B',
      config: {
        ...{ ...released, hidden_size: 2560, num_hidden_layers: 28, num_attention_heads: 20 },
        ...{ num_key_value_heads: 4, intermediate_size: 12288, moe_intermediate_size: 1536 },
        ...{ moe_k: 6, moe_num_shared_experts: 2, moe_layer_end_index: 27 },
      },
      total: 21_825_437_888,
    },
    {
      name: 'ERNIE-4.5-300B-A47B',
      config: {
        ...{ ...released, hidden_size: 8192, num_hidden_layers: 54, num_attention_heads: 64 },
        ...{ num_key_value_heads: 8, intermediate_size: 28672, moe_intermediate_size: 3584 },
        ...{ moe_k: 8, moe_num_shared_experts: 0, moe_layer_start_index: 3 },
        ...{ moe_layer_end_index: 53, tie_word_embeddings: false },
      },
      total: 299_484_163_264,
    },
  ],
}
