import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape, routedLayer } from './decoder.ts'
import {
  type DecoderConfig,
  decoderKeys,
  readDecoder,
  readExpertCount,
  readTopK,
} from './decoder_config.ts'

/** OLMoE (arXiv:2409.02060): q and k are normed over all their heads together. */
export interface OlmoeConfig extends DecoderConfig {
  architecture: 'olmoe'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** The chosen probabilities are renormalised. */
  normTopkProb: boolean
  /** The four projections have biases. */
  attentionBias: boolean
  /** q, k and v are cut to this size, behind the norms; undefined: not. */
  clipQkv: number | undefined
}

/** transformers' OlmoeConfig. */
export const olmoeKeys = configKeys({
  used: [
    ...decoderKeys,
    'head_dim',
    'attention_bias',
    'clip_qkv',
    'intermediate_size',
    'num_experts',
    'num_local_experts',
    'num_experts_per_tok',
    'norm_topk_prob',
  ],
  only: { hidden_act: ['silu'], partial_rotary_factor: [1], sliding_window: [] },
})
type Key = (typeof olmoeKeys)['used'][number]

export function readOlmoeConfig(c: ConfigReader<Key>): OlmoeConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-5, theta: 10000, maxPositions: 4096 },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
  })
  // The published class norms q and k as wide as the hidden size.
  if (c.int('head_dim', shared.headSize) !== shared.headSize)
    c.unsupported('head_dim', `hidden_size / num_attention_heads, ${shared.headSize}`)
  const clip = c.get('clip_qkv')
  return {
    architecture: 'olmoe',
    ...shared,
    expertSize: c.int('intermediate_size', 2048),
    ...readTopK(c, 'num_experts_per_tok', readExpertCount(c, 64), 8),
    normTopkProb: c.flag('norm_topk_prob', false),
    attentionBias: c.flag('attention_bias', false),
    clipQkv: clip === undefined ? undefined : c.number('clip_qkv', undefined, 1e-6, limits.factor),
  }
}

export function olmoe(c: OlmoeConfig, weights: Weights): Architecture {
  const { attentionBias: bias, rmsNormEps: eps } = c
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: bias, out: bias },
    qkNorm: { over: 'row', eps },
    clip: c.clipQkv,
  }
  const chosen = { weights: c.normTopkProb ? 'renormalized' : 'scores' } as const
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix) => routedLayer(weights, `${prefix}.mlp`, c, chosen),
  })
}
