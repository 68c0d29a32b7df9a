import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { DenseLayer } from '../layers/dense.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import type { ConfigReader } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape, routedLayer } from './decoder.ts'
import {
  checkLayerTypes,
  type DecoderConfig,
  decoderKeys,
  readDecoder,
  readExpertCount,
  readTopK,
} from './decoder_config.ts'
import { readDenseLayers, type SparseLayers, sparseKeys } from './qwen_layers.ts'

/** Qwen1.5-MoE and Qwen2-MoE (arXiv:2407.10671): a shared expert, weighed by a sigmoid of its own. */
export interface Qwen2MoeConfig extends DecoderConfig, SparseLayers {
  architecture: 'qwen2_moe'
  expertSize: number
  sharedExpertSize: number
  experts: 'ffn'[]
  topK: number
  /** The chosen probabilities are renormalised. */
  normTopkProb: boolean
  qkvBias: boolean
}

/** transformers' Qwen2MoeConfig. */
export const qwen2MoeKeys = configKeys({
  used: [
    ...decoderKeys,
    ...sparseKeys,
    'qkv_bias',
    'layer_types',
    'moe_intermediate_size',
    'shared_expert_intermediate_size',
    'num_experts',
    'num_local_experts',
    'num_experts_per_tok',
    'norm_topk_prob',
  ],
  only: {
    hidden_act: ['silu'],
    partial_rotary_factor: [1],
    // Editions of the published code differ in which layers it concerns.
    use_sliding_window: [false],
  },
  ignored: { 'read with use_sliding_window only': ['sliding_window', 'max_window_layers'] },
})
type Key = (typeof qwen2MoeKeys)['used'][number]

export function readQwen2MoeConfig(c: ConfigReader<Key>): Qwen2MoeConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 32768 },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    layerType: checkLayerTypes(c, undefined),
  })
  return {
    architecture: 'qwen2_moe',
    ...shared,
    ...readDenseLayers(c, shared.numLayers, 5632),
    expertSize: c.int('moe_intermediate_size', 1408),
    sharedExpertSize: c.int('shared_expert_intermediate_size', 5632),
    ...readTopK(c, 'num_experts_per_tok', readExpertCount(c, 60), 4),
    normTopkProb: c.flag('norm_topk_prob', false),
    qkvBias: c.flag('qkv_bias', true),
  }
}

export function qwen2Moe(c: Qwen2MoeConfig, weights: Weights): Architecture {
  const { hiddenSize: hidden } = c
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: c.qkvBias },
  }
  const chosen = { weights: c.normTopkProb ? 'renormalized' : 'scores' } as const
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix, l) => {
      const mlp = `${prefix}.mlp`
      if (c.denseLayers.includes(l))
        return new DenseLayer(weights, mlp, { hidden, size: c.denseSize })
      const shared = { hidden, size: c.sharedExpertSize, gate: `${mlp}.shared_expert_gate` }
      return routedLayer(
        weights,
        mlp,
        c,
        chosen,
        new DenseLayer(weights, `${mlp}.shared_expert`, shared),
      )
    },
  })
}
