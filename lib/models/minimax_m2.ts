import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import type { ConfigReader } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import {
  type DecoderConfig,
  decoderKeys,
  readAnyHeadSize,
  readDecoder,
  readExpertCount,
  readTopK,
} from './decoder_config.ts'
import { mixtralLayer } from './mixtral.ts'
import { partialKey, readRotaryValues } from './partial_rotary.ts'

/**
 * MiniMax-M2 (2025, published code): q and k normed over all their heads, a part of each head rotated, sigmoid scores
 * with a bias of the choice, renormalised.
 */
export interface MiniMaxM2Config extends DecoderConfig {
  architecture: 'minimax_m2'
  expertSize: number
  experts: 'ffn'[]
  topK: number
}

/** transformers' MiniMaxM2Config and the publisher's. */
export const miniMaxM2Keys = configKeys({
  used: [
    ...decoderKeys,
    partialKey,
    'rotary_dim',
    'head_dim',
    'attn_type_list',
    'intermediate_size',
    'num_local_experts',
    'num_experts',
    'num_experts_per_tok',
  ],
  only: {
    hidden_act: ['silu'],
    use_qk_norm: [true],
    qk_norm_type: ['per_layer'],
    scoring_func: ['sigmoid'],
    use_routing_bias: [true],
    attention_bias: [false],
    sliding_window: [],
    shared_intermediate_size: [0],
    layernorm_full_attention_beta: [1],
    layernorm_linear_attention_beta: [1],
    layernorm_mlp_beta: [1],
    routed_scaling_factor: [1],
    swa_rope_theta: [-1],
    ...{ attn_window_size: [], num_expert_group: [], topk_group: [] },
  },
  ignored: {
    'training only': ['router_jitter_noise'],
    'the modules that predict further tokens are not published': [
      ...['use_mtp', 'num_mtp_modules', 'mtp_transformer_layers'],
    ],
    'of shared experts, dense layers and groups, of which there are none': [
      ...['shared_moe_mode', 'mlp_intermediate_size', 'use_grouped_topk'],
    ],
  },
})
type Key = (typeof miniMaxM2Keys)['used'][number]

/** A kind for each layer: 1 is attention to all that is before, and others are another model's. */
function checkAttention(c: ConfigReader<Key>, layers: number): void {
  const listed = c.get('attn_type_list') ?? Array(layers).fill(1)
  if (!Array.isArray(listed) || listed.length !== layers || !listed.every((type) => type === 1))
    c.unsupported('attn_type_list', `a list of ${layers} times 1`)
}

export function readMiniMaxM2Config(c: ConfigReader<Key>): MiniMaxM2Config {
  const headSize = c.get('head_dim') === undefined ? 128 : readAnyHeadSize(c)
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 5e6, maxPositions: 196608, keyValueHeads: 8 },
    ...{ headSize, rotaryDim: readRotaryValues(c, headSize, headSize / 2) },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
  })
  checkAttention(c, shared.numLayers)
  return {
    architecture: 'minimax_m2',
    ...shared,
    expertSize: c.int('intermediate_size', 1536),
    ...readTopK(c, 'num_experts_per_tok', readExpertCount(c, 256), 8),
  }
}

export function miniMaxM2(c: MiniMaxM2Config, weights: Weights): Architecture {
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    qkNorm: { over: 'row', eps: c.rmsNormEps },
  }
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix) =>
      mixtralLayer(weights, c, prefix, (block) => ({
        ...({ score: 'sigmoid', weights: 'renormalized' } as const),
        choiceBias: `${block}.e_score_correction_bias`,
      })),
  })
}
