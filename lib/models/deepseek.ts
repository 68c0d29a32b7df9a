import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readDecoder, readTopK } from './decoder_config.ts'
import {
  type DeepseekLayers,
  deepseekFeedForward,
  deepseekIgnored,
  deepseekLayerKeys,
  readSharedSize,
} from './deepseek_layers.ts'

/** DeepSeekMoE-16B (arXiv:2401.06066): many small experts beside shared ones; the first layers are dense. */
export interface DeepseekConfig extends DecoderConfig, DeepseekLayers {
  architecture: 'deepseek'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** The chosen probabilities are renormalised; one alone never is. */
  normTopkProb: boolean
  /** The four projections have biases. */
  attentionBias: boolean
  /** Indices of the dense layers. */
  denseLayers: number[]
}

/** The published DeepseekConfig class. */
export const deepseekKeys = configKeys({
  used: [
    ...decoderKeys,
    'attention_bias',
    ...deepseekLayerKeys,
    'moe_layer_freq',
    'norm_topk_prob',
  ],
  only: { hidden_act: ['silu'], scoring_func: ['softmax'] },
  ignored: deepseekIgnored,
})
type Key = (typeof deepseekKeys)['used'][number]

/** Sparse is every `moe_layer_freq`-th layer behind the first dense ones. */
function readDenseLayers(
  c: ConfigReader<'first_k_dense_replace' | 'moe_layer_freq'>,
  numLayers: number,
): number[] {
  const first = c.int('first_k_dense_replace', 0, { min: 0, max: limits.count })
  const every = c.count('moe_layer_freq', 1)
  const layers = Array.from({ length: numLayers }, (_, l) => l)
  return layers.filter((l) => l < first || l % every !== 0)
}

export function readDeepseekConfig(c: ConfigReader<Key>): DeepseekConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 2048 },
    ropeKinds: ['default', 'linear'],
  })
  const expertSize = c.int('moe_intermediate_size')
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('n_routed_experts'))
  return {
    architecture: 'deepseek',
    ...shared,
    expertSize,
    ...chosen,
    normTopkProb: c.flag('norm_topk_prob', false) && chosen.topK > 1,
    attentionBias: c.flag('attention_bias', false),
    sharedExpertSize: readSharedSize(c, expertSize, 0),
    denseSize: c.int('intermediate_size'),
    denseLayers: readDenseLayers(c, shared.numLayers),
  }
}

export function deepseek(c: DeepseekConfig, weights: Weights): Architecture {
  const { attentionBias: bias } = c
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: bias, out: bias },
  }
  const chosen = { weights: c.normTopkProb ? 'renormalized' : 'scores' } as const
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: deepseekFeedForward(
      weights,
      c,
      (l) => c.denseLayers.includes(l),
      () => chosen,
    ),
  })
}
