import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import {
  type DecoderConfig,
  decoderKeys,
  readDecoder,
  readHeadSize,
  readTopK,
} from './decoder_config.ts'
import { type DeepseekLayers, deepseekFeedForward } from './deepseek_layers.ts'

/**
 * ERNIE 4.5 (Baidu, "ERNIE 4.5 Technical Report", 2025): neighbours are rotated, softmax scores with a bias of the
 * choice, renormalised, beside shared experts.
 */
export interface Ernie45MoeConfig extends DecoderConfig, DeepseekLayers {
  architecture: 'ernie4_5_moe'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** Indices of the dense layers. */
  denseLayers: number[]
}

/** transformers' Ernie4_5_MoeConfig, and what the publisher's files have beside it. */
export const ernie45MoeKeys = configKeys({
  used: [
    ...decoderKeys,
    'head_dim',
    'intermediate_size',
    'moe_intermediate_size',
    'moe_num_experts',
    'moe_k',
    'moe_num_shared_experts',
    'moe_layer_start_index',
    'moe_layer_end_index',
    'moe_layer_interval',
  ],
  only: {
    hidden_act: ['silu'],
    use_bias: [false],
    use_rmsnorm: [true],
    moe_norm_min: [1e-12],
    moe_gate: ['topk', 'topk_fused'],
    moe_gate_act: ['softmax'],
    moe_norm_gate_logits: [true],
    moe_use_aux_free: [true],
  },
  ignored: {
    'the published class drops no token': ['moe_capacity'],
    'what predicts further tokens is not run': ['num_nextn_predict_layers'],
    'training only': [
      ...['moe_aux_loss_lambda', 'moe_z_loss_lambda', 'moe_orthogonal_loss_lambda'],
      ...['moe_dropout_prob', 'moe_group', 'multi_token_pred_lambda', 'mtp_loss_scaling_factor'],
    ],
  },
})
type Key = (typeof ernie45MoeKeys)['used'][number]

/** Sparse is every `moe_layer_interval`-th layer, counted from one, from the first to the last index. */
function readDenseLayers(c: ConfigReader<Key>, numLayers: number): number[] {
  const max = limits.count
  const first = c.int('moe_layer_start_index', 1, { min: 0, max })
  const said = c.int('moe_layer_end_index', -1, { min: -1, max })
  const last = said === -1 ? numLayers - 1 : said
  const every = c.count('moe_layer_interval', 1)
  const layers = Array.from({ length: numLayers }, (_, l) => l)
  return layers.filter((l) => l < first || l > last || (l + 1) % every !== 0)
}

export function readErnie45MoeConfig(c: ConfigReader<Key>): Ernie45MoeConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-5, theta: 500000, maxPositions: 131072, keyValueHeads: 4, tied: true },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    headSize: readHeadSize(c),
  })
  const expertSize = c.int('moe_intermediate_size', 1536)
  const sharedExperts = c.int('moe_num_shared_experts', 2, { min: 0, max: limits.count })
  return {
    architecture: 'ernie4_5_moe',
    ...shared,
    expertSize,
    ...readTopK(c, 'moe_k', c.count('moe_num_experts', 64), 6),
    sharedExpertSize: expertSize * sharedExperts,
    denseSize: c.int('intermediate_size', 12288),
    denseLayers: readDenseLayers(c, shared.numLayers),
  }
}

export function ernie45Moe(c: Ernie45MoeConfig, weights: Weights): Architecture {
  weights.ignore(/^model\.mtp_/)
  const ropeTable = weights.ropeTable(c.rotaryDim, c.rope)
  const attention: AttentionOptions = { ...headShape(c), rule: 'self', ropeTable, neighbours: true }
  const statics = (mlp: string) => `${mlp}.moe_statics.e_score_correction_bias`
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => c.denseLayers.includes(l),
      (mlp) => ({
        weights: 'renormalized',
        choiceBias: rowsOf(statics(mlp), [1, c.experts.length]),
      }),
    ),
  })
}
