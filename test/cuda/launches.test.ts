import { describe, expect, it } from 'vitest'
import { randomModel } from '../../lib/index.ts'
import { familySamples } from '../support/families/index.ts'
import { simulated } from '../support/gpus.ts'

const yuan = {
  ...{ model_type: 'yuan', vocab_size: 64, hidden_size: 32, num_attention_heads: 2 },
  moe_config: { moe_num_experts: 4, moe_top_k: 2, ffn_hidden_size: 32, gated_linear_unit: true },
}
const moepp = {
  ...{ model_type: 'MoE++', vocab_size: 64, hidden_size: 32, num_attention_heads: 2 },
  ...{ intermediate_size: 32, num_experts: [8], moe_use_logits_norm: true, moe_2layer_gate: false },
  moe_feature_no_mul_topk: true,
}
const mixtral = {
  ...{ model_type: 'mixtral', vocab_size: 64, hidden_size: 32, num_attention_heads: 2 },
  ...{ intermediate_size: 32, num_local_experts: 4, num_experts_per_tok: 2 },
}

const latent = {
  ...{ vocab_size: 64, hidden_size: 32, num_attention_heads: 2, kv_lora_rank: 16 },
  ...{ q_lora_rank: 16, qk_nope_head_dim: 8, qk_rope_head_dim: 8, v_head_dim: 8 },
}
const deepseek = {
  ...{ ...latent, model_type: 'deepseek_v3', intermediate_size: 32, moe_intermediate_size: 32 },
  ...{ n_routed_experts: 4, num_experts_per_tok: 2, n_group: 2, topk_group: 1 },
  first_k_dense_replace: 0,
}
const longcat = {
  ...{ ...latent, model_type: 'longcat_flash', ffn_hidden_size: 32, expert_ffn_hidden_size: 32 },
  ...{ n_routed_experts: 4, zero_expert_num: 2, moe_topk: 2 },
}

const layersKey = (config: object) => (config === longcat ? 'num_layers' : 'num_hidden_layers')

/** Kernels of one decode step of `batch` sequences. */
async function launches(config: object, numLayers: number, batch: number): Promise<number> {
  const model = await randomModel(
    { ...config, [layersKey(config)]: numLayers },
    { device: 'cuda-sim', dtype: 'bf16', maxTokens: 512 },
  )
  const sequences = Array.from({ length: batch }, (_, s) => [s + 1])
  await model.profile(sequences, 1)
  const time = await model.profile(sequences, 1) // a plan's second run is captured
  await model.dispose()
  return time.launches
}

/** The gap between two kernels is what a small step is made of, so their number may not grow unnoticed. */
describe.skipIf(!simulated)('kernels of a decode step', () => {
  const perLayer: [string, object, few: number, many: number][] = [
    ['yuan', yuan, 9, 19],
    ['moepp', moepp, 6, 11],
    ['mixtral', mixtral, 6, 10],
    ['qwen3_moe', { ...familySamples.qwen3_moe!.base, mlp_only_layers: [] }, 6, 10],
    ['llama_moe', familySamples.llama_moe!.base, 8, 11],
    ['granitemoe', familySamples.granitemoe!.base, 6, 10],
    ['granitemoeshared', familySamples.granitemoeshared!.base, 8, 12],
    ['gpt_oss', familySamples.gpt_oss!.base, 6, 10],
    ['phimoe', familySamples.phimoe!.base, 10, 10],
    ['deepseek_v3', deepseek, 12, 17],
    ['longcat_flash', longcat, 22, 29],
  ]
  it.each(perLayer)('%s, for each layer', async (_name, config, few, many) => {
    for (const [batch, expected] of [
      [1, few],
      [9, many],
    ] as const) {
      const [two, three] = [await launches(config, 2, batch), await launches(config, 3, batch)]
      expect(three - two, `batch ${batch}`).toBe(expected)
    }
  })
})
