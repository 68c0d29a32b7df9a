import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const released = {
  ...{
    model_type: 'granitemoe',
    vocab_size: 49155,
    num_key_value_heads: 8,
    intermediate_size: 512,
  },
  ...{ num_experts_per_tok: 8, embedding_multiplier: 12, attention_multiplier: 0.015625 },
  ...{ residual_multiplier: 0.22, logits_scaling: 6, tie_word_embeddings: true },
}

export const graniteMoe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'granitemoe', intermediate_size: 32, num_local_experts: 6 },
    ...{ embedding_multiplier: 3, attention_multiplier: 0.25, residual_multiplier: 0.5 },
    logits_scaling: 2,
  },
  used: {
    ...{ ...decoderUsed, intermediate_size: 48, num_local_experts: 7, num_experts_per_tok: 3 },
    ...{ attention_bias: true, embedding_multiplier: 2, attention_multiplier: 1 },
    ...{ residual_multiplier: 1, logits_scaling: 1 },
  },
  published: [
    {
      name: 'granite-3.1-1b-a400m',
      config: {
        ...{ ...released, hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16 },
        num_local_experts: 32,
      },
      total: 1_334_628_352,
      active: 0.4287e9,
    },
    {
      name: 'granite-3.1-3b-a800m',
      config: {
        ...{ ...released, hidden_size: 1536, num_hidden_layers: 32, num_attention_heads: 24 },
        num_local_experts: 40,
      },
      total: 3_298_793_472,
      active: 0.8829e9,
    },
  ],
}

export const graniteMoeShared: FamilySamples = {
  base: { ...graniteMoe.base, model_type: 'granitemoeshared', shared_intermediate_size: 24 },
  used: { ...graniteMoe.used, shared_intermediate_size: 32 },
}
