import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { DenseLayer } from '../layers/dense.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape, routedLayer, windowed } from './decoder.ts'
import {
  checkLayerTypes,
  type DecoderConfig,
  decoderKeys,
  readDecoder,
  readExpertCount,
  readHeadSize,
  readTopK,
} from './decoder_config.ts'
import { readDenseLayers, type SparseLayers, sparseKeys } from './qwen_layers.ts'

/** Qwen3-MoE (arXiv:2505.09388): q and k are normed head by head; head size as the file says. */
export interface Qwen3MoeConfig extends DecoderConfig, SparseLayers {
  architecture: 'qwen3_moe'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** The chosen probabilities are renormalised. */
  normTopkProb: boolean
  /** The four projections have biases. */
  attentionBias: boolean
  slidingWindow: number | undefined
}

/** transformers' Qwen3MoeConfig. */
export const qwen3MoeKeys = configKeys({
  used: [
    ...decoderKeys,
    ...sparseKeys,
    'head_dim',
    'attention_bias',
    'use_sliding_window',
    'sliding_window',
    'layer_types',
    'moe_intermediate_size',
    'num_experts',
    'num_local_experts',
    'num_experts_per_tok',
    'norm_topk_prob',
  ],
  only: {
    ...{ hidden_act: ['silu'], partial_rotary_factor: [1] },
    // In Qwen3-Coder's files, and read by no class: what this one is anyway.
    ...{ qkv_bias: [false], use_qk_norm: [true], shared_expert_intermediate_size: [0] },
  },
  ignored: { 'in the published file, but its class does not read it': ['max_window_layers'] },
})
type Key = (typeof qwen3MoeKeys)['used'][number]

function readWindow(c: ConfigReader<Key>): number | undefined {
  if (!c.flag('use_sliding_window', false) || c.isNull('sliding_window')) return undefined
  return c.int('sliding_window', 4096, { max: limits.positions })
}

export function readQwen3MoeConfig(c: ConfigReader<Key>): Qwen3MoeConfig {
  const slidingWindow = readWindow(c)
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 32768, keyValueHeads: 4 },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    layerType: checkLayerTypes(c, slidingWindow),
    headSize: readHeadSize(c),
  })
  return {
    architecture: 'qwen3_moe',
    ...shared,
    ...readDenseLayers(c, shared.numLayers, 6144),
    expertSize: c.int('moe_intermediate_size', 768),
    ...readTopK(c, 'num_experts_per_tok', readExpertCount(c, 128), 8),
    normTopkProb: c.flag('norm_topk_prob', false),
    attentionBias: c.flag('attention_bias', false),
    slidingWindow,
  }
}

export function qwen3Moe(c: Qwen3MoeConfig, weights: Weights): Architecture {
  const { hiddenSize: hidden, attentionBias: bias, rmsNormEps: eps } = c
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: bias, out: bias },
    qkNorm: { over: 'head', eps },
  }
  const chosen = { weights: c.normTopkProb ? 'renormalized' : 'scores' } as const
  return decoder(c, weights, {
    visibility: windowed(c.slidingWindow),
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix, l) =>
      c.denseLayers.includes(l)
        ? new DenseLayer(weights, `${prefix}.mlp`, { hidden, size: c.denseSize })
        : routedLayer(weights, `${prefix}.mlp`, c, chosen),
  })
}
