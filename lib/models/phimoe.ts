import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { LayerNorm } from '../layers/norm.ts'
import { longestText } from '../weights/rope.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readDecoder, readHeadSize } from './decoder_config.ts'
import { mixtralLayer } from './mixtral.ts'

/**
 * Phi-3.5-MoE (arXiv:2404.14219): Mixtral's skeleton with layer norms, biases and the sparsemixer router
 * (arXiv:2409.12136).
 */
export interface PhiMoeConfig extends DecoderConfig {
  architecture: 'phimoe'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** Experts whose logit is within twice this share of the best one's have a part in its softmax. */
  routerJitter: number
  /** The four projections have biases. */
  attentionBias: boolean
  headBias: boolean
}

/** The published PhiMoEConfig, and transformers' PhimoeConfig. */
export const phiMoeKeys = configKeys({
  used: [
    ...decoderKeys,
    'original_max_position_embeddings',
    'head_dim',
    'sliding_window',
    'attention_bias',
    'lm_head_bias',
    'intermediate_size',
    'num_local_experts',
    'router_jitter_noise',
  ],
  only: { hidden_act: ['silu'], num_experts_per_tok: [2] },
  ignored: { 'training only': ['input_jitter_noise'] },
})
type Key = (typeof phiMoeKeys)['used'][number]

/** Longest text: the published codes differ beyond the short rotary factors, and in how long a window is. */
function readContext(c: ConfigReader<Key>, { rope, maxPositionEmbeddings }: DecoderConfig): number {
  const longest = Math.min(maxPositionEmbeddings, longestText(rope))
  if (rope.kind === 'longrope') {
    const original = c.int('original_max_position_embeddings', rope.original)
    if (original !== rope.original)
      c.unsupported('original_max_position_embeddings', `${rope.original}, as rope_scaling says`)
  }
  if (c.int('sliding_window', longest, { max: limits.positions }) < longest)
    c.unsupported('sliding_window', `at least the longest text, ${longest}`)
  return longest
}

export function readPhiMoeConfig(c: ConfigReader<Key>): PhiMoeConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-5, theta: 1e6, maxPositions: 131072, keyValueHeads: 8 },
    ropeKinds: ['default', 'longrope'],
    headSize: readHeadSize(c),
  })
  return {
    architecture: 'phimoe',
    ...shared,
    maxPositionEmbeddings: readContext(c, shared),
    expertSize: c.int('intermediate_size'),
    topK: 2,
    experts: Array<'ffn'>(c.int('num_local_experts', 16, { min: 2, max: limits.count })).fill(
      'ffn',
    ),
    routerJitter: c.number('router_jitter_noise', 0.01, 0, 1),
    attentionBias: c.flag('attention_bias', false),
    headBias: c.flag('lm_head_bias', false),
  }
}

export function phiMoe(c: PhiMoeConfig, weights: Weights): Architecture {
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: c.attentionBias, out: c.attentionBias },
  }
  const choice = { score: 'sparsemixer', weights: 'scores', jitter: c.routerJitter } as const
  return decoder(c, weights, {
    vocabulary: { headBias: c.headBias },
    norm: (name) => new LayerNorm(weights, name, c.hiddenSize, c.rmsNormEps),
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix) => mixtralLayer(weights, c, prefix, () => choice),
  })
}
