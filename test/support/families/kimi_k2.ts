import { deepseekV3 } from './deepseek_v3.ts'
import { publishedLatent } from './latent.ts'
import type { FamilySamples } from './samples.ts'

export const kimiK2: FamilySamples = {
  ...deepseekV3,
  base: { ...deepseekV3.base, model_type: 'kimi_k2' },
  published: [
    {
      name: 'Kimi-K2',
      config: {
        ...{ ...publishedLatent, model_type: 'kimi_k2', vocab_size: 163840, hidden_size: 7168 },
        ...{ num_hidden_layers: 61, num_attention_heads: 64, n_routed_experts: 384 },
        ...{ n_group: 1, topk_group: 1, first_k_dense_replace: 1, num_nextn_predict_layers: 0 },
        ...{ routed_scaling_factor: 2.827, rope_theta: 50000 },
        rope_scaling: {
          ...{ type: 'yarn', factor: 32, beta_fast: 1, beta_slow: 1, mscale: 1, mscale_all_dim: 1 },
          original_max_position_embeddings: 4096,
        },
      },
      total: 1_026_408_232_448,
      active: 31.69e9,
    },
  ],
}
