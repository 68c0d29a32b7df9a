import { latentAgreeing, latentBase, latentUsed, publishedLatent } from './latent.ts'
import { bounds, type FamilySamples } from './samples.ts'

const { num_hidden_layers: num_layers, ...sizes } = bounds
const { q_lora_rank: _, ...used } = latentUsed

export const longcatFlash: FamilySamples = {
  base: {
    ...{ ...sizes, ...latentBase, model_type: 'longcat_flash', num_layers },
    ...{ ffn_hidden_size: 40, expert_ffn_hidden_size: 32, n_routed_experts: 5 },
    ...{ zero_expert_num: 3, moe_topk: 3 },
  },
  used: {
    ...{ ...used, q_lora_rank: 32, num_layers: 3, ffn_hidden_size: 56 },
    ...{ expert_ffn_hidden_size: 48, n_routed_experts: 6, zero_expert_num: 0, moe_topk: 2 },
    routed_scaling_factor: 1,
  },
  agreeing: { ...latentAgreeing, num_hidden_layers: 3 },
  published: [
    {
      name: 'LongCat-Flash-Chat',
      config: {
        ...{ ...publishedLatent, model_type: 'longcat_flash', vocab_size: 131072 },
        ...{ hidden_size: 6144, num_layers: 28, num_attention_heads: 64 },
      },
      total: 560_664_980_480,
    },
  ],
}
