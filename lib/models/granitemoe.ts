import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { DenseLayer } from '../layers/dense.ts'
import { MoeLayer, stackedExperts } from '../layers/moe.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readDecoder, readTopK } from './decoder_config.ts'

/**
 * Granite 3 MoE (IBM, "Granite 3.0 Language Models", 2024): embeddings, attention scores, what blocks add to the
 * residual stream, and logits each have a factor. `granitemoeshared` has a shared expert beside the routed ones.
 */
export interface GraniteMoeConfig extends DecoderConfig {
  architecture: 'granitemoe' | 'granitemoeshared'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** The four projections have biases. */
  attentionBias: boolean
  /** Inner size of the shared expert; 0: none. */
  sharedExpertSize: number
  embeddingMultiplier: number
  /** Of the scores, in the place of 1 / sqrt(headSize). */
  attentionMultiplier: number
  residualMultiplier: number
  /** Logits are divided by it. */
  logitsScaling: number
}

/** transformers' GraniteMoeConfig. */
export const graniteMoeKeys = configKeys({
  used: [
    ...decoderKeys,
    'attention_bias',
    'intermediate_size',
    'num_local_experts',
    'num_experts_per_tok',
    'embedding_multiplier',
    'attention_multiplier',
    'residual_multiplier',
    'logits_scaling',
  ],
  only: { hidden_act: ['silu'] },
})
type Key = (typeof graniteMoeKeys)['used'][number]

/** transformers' GraniteMoeSharedConfig. */
export const graniteMoeSharedKeys = configKeys({
  used: [...graniteMoeKeys.used, 'shared_intermediate_size'],
  only: { ...graniteMoeKeys.only, position_embedding_type: ['rope'] },
})

export function readGraniteMoeConfig(c: ConfigReader<Key>): GraniteMoeConfig {
  const multiplier = (key: Key) => c.number(key, 1, 1 / limits.factor, limits.factor)
  return {
    architecture: 'granitemoe',
    ...readDecoder(c, {
      ...{ eps: 1e-6, theta: 10000, maxPositions: 2048 },
      ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    }),
    expertSize: c.int('intermediate_size'),
    ...readTopK(c, 'num_experts_per_tok', c.count('num_local_experts', 8), 2),
    attentionBias: c.flag('attention_bias', false),
    sharedExpertSize: 0,
    embeddingMultiplier: multiplier('embedding_multiplier'),
    attentionMultiplier: multiplier('attention_multiplier'),
    residualMultiplier: multiplier('residual_multiplier'),
    logitsScaling: multiplier('logits_scaling'),
  }
}

export const readGraniteMoeSharedConfig = (
  c: ConfigReader<(typeof graniteMoeSharedKeys)['used'][number]>,
): GraniteMoeConfig => ({
  ...readGraniteMoeConfig(c),
  architecture: 'granitemoeshared',
  sharedExpertSize: c.int('shared_intermediate_size', 0, { min: 0 }),
})

export function graniteMoe(c: GraniteMoeConfig, weights: Weights): Architecture {
  const { hiddenSize: hidden, experts: kinds, topK, attentionBias: bias } = c
  const outputScale = c.residualMultiplier
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: bias, out: bias },
    scale: c.attentionMultiplier,
    outputScale,
  }
  const shared = (prefix: string, size: number) => {
    const names = { gateUp: ['input_linear'], down: 'output_linear' }
    return new DenseLayer(weights, prefix, { hidden, size, names, outputScale })
  }
  const moe = (prefix: string) => {
    const block = `${prefix}.block_sparse_moe`
    const choice = { kinds, topK, hidden, weights: 'renormalized' } as const
    const router = new TopKRouter(weights, `${block}.router.layer.weight`, choice)
    const names = { gateUp: `${block}.input_linear.weight`, down: `${block}.output_linear.weight` }
    const shape = { count: kinds.length, hidden, size: c.expertSize }
    return new MoeLayer(
      router,
      { kinds, topK, ...stackedExperts(weights, names, shape), outputScale },
      c.sharedExpertSize > 0 ? shared(`${prefix}.shared_mlp`, c.sharedExpertSize) : undefined,
    )
  }
  return decoder(c, weights, {
    vocabulary: { embeddingScale: c.embeddingMultiplier, logitScale: 1 / c.logitsScaling },
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: moe,
  })
}
