import { latentAgreeing, latentBase, latentUsed, publishedLatent } from './latent.ts'
import { bounds, type FamilySamples } from './samples.ts'

const yarn = {
  ...{ type: 'yarn', factor: 40, original_max_position_embeddings: 4096, beta_fast: 32 },
  ...{ beta_slow: 1, mscale: 1, mscale_all_dim: 1 },
}
const released = {
  ...{ ...publishedLatent, model_type: 'deepseek_v2', vocab_size: 102400, n_shared_experts: 2 },
  ...{ num_experts_per_tok: 6, first_k_dense_replace: 1, rope_scaling: yarn },
}

export const deepseekV2: FamilySamples = {
  base: {
    ...{ ...bounds, ...latentBase, model_type: 'deepseek_v2', intermediate_size: 40 },
    ...{ moe_intermediate_size: 32, n_routed_experts: 8, num_experts_per_tok: 3 },
    ...{ n_shared_experts: 2, first_k_dense_replace: 1, topk_method: 'group_limited_greedy' },
    ...{ n_group: 4, topk_group: 2 },
  },
  used: {
    ...{ ...latentUsed, num_hidden_layers: 3, intermediate_size: 56, moe_intermediate_size: 48 },
    ...{ n_routed_experts: 12, num_experts_per_tok: 2, n_shared_experts: null },
    ...{ first_k_dense_replace: 0, topk_method: 'greedy', n_group: 2, topk_group: 3 },
    routed_scaling_factor: 16,
  },
  agreeing: latentAgreeing,
  published: [
    {
      name: 'DeepSeek-V2-Lite',
      config: {
        ...{ ...released, hidden_size: 2048, num_hidden_layers: 27, num_attention_heads: 16 },
        ...{ q_lora_rank: null, intermediate_size: 10944, moe_intermediate_size: 1408 },
        ...{ n_routed_experts: 64, topk_method: 'greedy', n_group: 1, topk_group: 1 },
      },
      total: 15_706_484_224,
      active: 2.45e9,
    },
    {
      name: 'DeepSeek-V2',
      config: {
        ...{ ...released, hidden_size: 5120, num_hidden_layers: 60, num_attention_heads: 128 },
        ...{ intermediate_size: 12288, moe_intermediate_size: 1536, n_routed_experts: 160 },
        ...{ topk_method: 'group_limited_greedy', n_group: 8, topk_group: 3 },
        routed_scaling_factor: 16,
      },
      total: 235_741_434_880,
    },
  ],
}
