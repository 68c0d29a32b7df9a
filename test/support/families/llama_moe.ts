import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

const shape = { vocab_size: 32000, hidden_size: 4096, num_hidden_layers: 32 }
const released = {
  ...{ ...shape, model_type: 'llama_moe', num_attention_heads: 32, intermediate_size: 11008 },
}
const noise = 32 * 4096 // of an expert in training; in the files

export const llamaMoe: FamilySamples = {
  base: { ...bounds, model_type: 'llama_moe', intermediate_size: 96, num_experts: 8 },
  used: {
    ...{ ...decoderUsed, intermediate_size: 64, num_experts: 6, num_selects: 3 },
    ...{
      gate_network: 'linear',
      gate_use_softmax: false,
      multiply_gate_scores: false,
      score_scale_factor: [2, 3],
    },
    size_experts: [Array(8).fill(12), [...Array(7).fill(12), 8]],
  },
  published: [
    {
      name: 'LLaMA-MoE-v1-3_5B-2_8',
      config: { ...released, num_experts: 8, num_selects: 2 },
      total: 6_740_514_816 - 8 * noise,
      active: 3.49e9 - 32000 * 4096,
    },
    {
      name: 'LLaMA-MoE-v1-3_0B-2_16',
      config: { ...released, num_experts: 16, num_selects: 2 },
      total: 6_742_618_112 - 16 * noise,
      active: 2.95e9 - 32000 * 4096,
    },
  ],
}
