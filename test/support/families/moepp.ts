import { bounds, decoderUsed, type FamilySamples } from './samples.ts'

export const moePlusPlus: FamilySamples = {
  base: {
    ...bounds,
    model_type: 'MoE++',
    intermediate_size: 32,
    num_experts: [12],
    moe_use_logits_norm: true,
  },
  used: {
    ...{ ...decoderUsed, intermediate_size: 96, eos_token_id: 5 },
    ...{ num_experts: [13], moe_use_mixtral_gating: true, moe_2layer_gate: false },
    ...{ moe_use_logits_norm: false, moe_gate_norm_std: 2, moe_feature_no_mul_topk: true },
  },
}
