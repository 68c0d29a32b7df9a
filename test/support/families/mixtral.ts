import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const mixtral: FamilySamples = {
  base: { ...bounds, model_type: 'mixtral', intermediate_size: 32, sliding_window: 16 },
  used: {
    ...{ ...decoderUsed, intermediate_size: 64, head_dim: 32, sliding_window: 17 },
    ...{ num_experts_per_tok: 3, num_local_experts: 4, num_experts: 4 },
  },
  agreeing: { use_sliding_window: false, layer_types: ['full_attention', 'full_attention'] },
}
