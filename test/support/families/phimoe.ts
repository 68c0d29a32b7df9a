import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const { rope_scaling: _, rope_parameters: __, ...used } = decoderUsed
const longrope = (pairs: number, original: number) => ({
  ...{ type: 'longrope', short_mscale: 1.2, long_mscale: 1.3 },
  short_factor: Array<number>(pairs).fill(1.5),
  long_factor: Array<number>(pairs).fill(4),
  original_max_position_embeddings: original,
})

export const phiMoe: FamilySamples = {
  base: {
    ...{ ...bounds, model_type: 'phimoe', num_key_value_heads: 4 },
    ...{ intermediate_size: 32, num_local_experts: 6 },
    ...{ router_jitter_noise: 0.1, rope_scaling: longrope(8, 64) },
  },
  used: {
    ...{
      ...used,
      num_attention_heads: 8,
      intermediate_size: 48,
      num_local_experts: 7,
      head_dim: 32,
    },
    ...{ router_jitter_noise: 0.2, attention_bias: true, lm_head_bias: true },
    max_position_embeddings: 32,
    rope_scaling: longrope(8, 65),
    rope_parameters: { rope_scaling: null, rope_parameters: longrope(8, 65) },
  },
  agreeing: { sliding_window: 63, original_max_position_embeddings: 63 },
  published: [
    {
      name: 'Phi-3.5-MoE-instruct',
      config: {
        ...{ model_type: 'phimoe', vocab_size: 32064, hidden_size: 4096, num_hidden_layers: 32 },
        ...{ num_attention_heads: 32, intermediate_size: 6400, attention_bias: true },
        ...{ lm_head_bias: true, rope_scaling: longrope(64, 4096), sliding_window: 131072 },
      },
      total: 41_873_153_344,
      active: 6.509e9,
    },
  ],
}
