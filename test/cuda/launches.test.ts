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

/** Kernels of one decode step of `batch` sequences. */
async function launches(config: object, numLayers: number, batch: number): Promise<number> {
  const model = await randomModel(
    { ...config, num_hidden_layers: numLayers },
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
    ['yuan', yuan, 11, 19],
    ['moepp', moepp, 6, 11],
    ['mixtral', mixtral, 6, 10],
    ['qwen3_moe', { ...familySamples.qwen3_moe!.base, mlp_only_layers: [] }, 6, 10],
    ['phimoe', familySamples.phimoe!.base, 10, 10],
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
