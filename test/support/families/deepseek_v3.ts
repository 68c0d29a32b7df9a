import { latentAgreeing, latentBase, latentUsed, publishedLatent } from './latent.ts'
import { bounds, type FamilySamples } from './samples.ts'

export const deepseekV3: FamilySamples = {
  base: {
    ...{ ...bounds, ...latentBase, model_type: 'deepseek_v3', intermediate_size: 40 },
    ...{ moe_intermediate_size: 32, n_routed_experts: 8, num_experts_per_tok: 3 },
    ...{ n_shared_experts: 2, first_k_dense_replace: 1, n_group: 4, topk_group: 2 },
  },
  used: {
    ...{ ...latentUsed, num_hidden_layers: 3, intermediate_size: 56, moe_intermediate_size: 48 },
    ...{ n_routed_experts: 12, num_experts_per_tok: 2, n_shared_experts: 1 },
    ...{ first_k_dense_replace: 0, n_group: 2, topk_group: 3, norm_topk_prob: false },
    ...{ routed_scaling_factor: 1, num_nextn_predict_layers: 2 },
  },
  agreeing: latentAgreeing,
  published: [
    {
      name: 'DeepSeek-V3',
      config: {
        ...{ ...publishedLatent, model_type: 'deepseek_v3', vocab_size: 129280 },
        ...{ hidden_size: 7168, num_hidden_layers: 61, num_attention_heads: 128 },
      },
      total: 671_026_419_200,
      active: 36.6e9,
    },
    {
      name: 'Moonlight-16B-A3B',
      config: {
        ...{ ...publishedLatent, model_type: 'deepseek_v3', vocab_size: 163840 },
        ...{ hidden_size: 2048, num_hidden_layers: 27, num_attention_heads: 16 },
        ...{ q_lora_rank: null, intermediate_size: 11264, moe_intermediate_size: 1408 },
        ...{ n_routed_experts: 64, num_experts_per_tok: 6, n_shared_experts: 2 },
        ...{ n_group: 1, topk_group: 1, first_k_dense_replace: 1, routed_scaling_factor: 2.446 },
        ...{ rope_theta: 50000, rms_norm_eps: 1e-5 },
      },
      total: 15_960_110_208,
    },
  ],
}
