import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import {
  type BalancedLayers,
  balancedFeedForward,
  balancedKeys,
  readBalancedRouter,
} from './balanced_layers.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import {
  checkLayerTypes,
  type DecoderConfig,
  decoderKeys,
  readAnyHeadSize,
  readDecoder,
  readTopK,
} from './decoder_config.ts'
import { ignorePredictions, type PredictionLayers, readPredictions } from './deepseek_layers.ts'
import { partialKey, readRotaryValues } from './partial_rotary.ts'

/** Ling 2.0 and Ring 2.0 (arXiv:2510.22115): heads normed and rotated in part, DeepSeek-V3's router under other names. */
export interface BailingMoeV2Config extends DecoderConfig, BalancedLayers, PredictionLayers {
  architecture: 'bailing_moe_v2'
  /** Of the projection to q, k and v, and of the one back. */
  attentionBias: { qkv: boolean; out: boolean }
}

/** The published BailingMoeV2Config, and what the released files have beside it. */
export const bailingMoeV2Keys = configKeys({
  used: [
    ...decoderKeys,
    ...balancedKeys,
    ...([partialKey, 'rotary_dim', 'head_dim', 'use_qkv_bias', 'use_bias'] as const),
    ...(['intermediate_size', 'moe_intermediate_size', 'first_k_dense_replace'] as const),
    ...(['num_experts', 'num_experts_per_tok', 'num_shared_experts', 'score_function'] as const),
    ...(['moe_shared_expert_intermediate_size', 'num_nextn_predict_layers'] as const),
    'layer_types',
  ],
  only: {
    ...{ hidden_act: ['silu'], use_qk_norm: [true], use_rmsnorm: [true], norm_head: [false] },
    ...{ router_dtype: ['fp32'], moe_router_enable_expert_bias: [true] },
    use_sliding_window: [false],
  },
  ignored: {
    'training only': ['embedding_dropout', 'output_dropout', 'mtp_loss_scaling_factor'],
    'of windows, which are off': ['sliding_window', 'max_window_layers'],
  },
})
type Key = (typeof bailingMoeV2Keys)['used'][number]

/** The published gate renormalises whatever the file says, and one expert alone never. */
function readRouter(c: ConfigReader<Key>, chosen: { topK: number; experts: unknown[] }) {
  // The first Ling has softmax scores, the same model_type, and no such key.
  if (c.get('score_function') !== 'sigmoid') c.unsupported('score_function', '"sigmoid"')
  const router = readBalancedRouter(c, { ...chosen, groups: { count: 8, kept: 4 }, factor: 2.5 })
  if (!router.normTopkProb) c.unsupported('norm_topk_prob', 'true')
  return { ...router, normTopkProb: chosen.topK > 1 }
}

export function readBailingMoeV2Config(c: ConfigReader<Key>): BailingMoeV2Config {
  const headSize = readAnyHeadSize(c)
  const expertSize = c.int('moe_intermediate_size')
  const shared = expertSize * c.int('num_shared_experts', 0, { min: 0, max: limits.count })
  if (c.int('moe_shared_expert_intermediate_size', shared, { min: 0 }) !== shared)
    c.unsupported('moe_shared_expert_intermediate_size', `that of all shared experts, ${shared}`)
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('num_experts', 16), 2)
  return {
    architecture: 'bailing_moe_v2',
    ...readDecoder(c, {
      ...{ eps: 1e-5, theta: 10000, maxPositions: 16384, headSize },
      rotaryDim: readRotaryValues(c, headSize, headSize),
      layerType: checkLayerTypes(c, undefined),
      ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    }),
    expertSize,
    ...chosen,
    ...readRouter(c, chosen),
    attentionBias: { qkv: c.flag('use_qkv_bias', false), out: c.flag('use_bias', false) },
    sharedExpertSize: shared,
    denseSize: c.int('intermediate_size'),
    denseLayers: c.int('first_k_dense_replace', 0, { min: 0, max: limits.count }),
    ...readPredictions(c),
  }
}

export function bailingMoeV2(c: BailingMoeV2Config, weights: Weights): Architecture {
  ignorePredictions(c, weights)
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    names: {
      ...({ qkv: ['query_key_value'], out: 'dense' } as const),
      norms: ['query_layernorm', 'key_layernorm'],
    },
    bias: c.attentionBias,
    qkNorm: { over: 'head', eps: c.rmsNormEps },
  }
  return decoder(c, weights, {
    vocabulary: { table: 'model.word_embeddings' },
    attentionName: 'attention',
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: balancedFeedForward(weights, c, 'expert_bias'),
  })
}
