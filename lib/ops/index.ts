// Made of csrc/ops/*.h by scripts/generate_ops.mjs.

import { attention } from './attention.ts'
import { attentionRouter } from './attention_router.ts'
import { causalPair } from './causal_pair.ts'
import { clamp } from './clamp.ts'
import { combine } from './combine.ts'
import { embedding } from './embedding.ts'
import { expertChoice } from './expert_choice.ts'
import { gatedUnit } from './gated_unit.ts'
import { gatherRows } from './gather_rows.ts'
import { groupedGemm } from './grouped_gemm.ts'
import { headLinear } from './head_linear.ts'
import { imageTokens } from './image_tokens.ts'
import { latentAttention } from './latent_attention.ts'
import { latentCache } from './latent_cache.ts'
import { layerNorm } from './layer_norm.ts'
import { limitCapacity } from './limit_capacity.ts'
import { linear } from './linear.ts'
import { lora } from './lora.ts'
import { patches } from './patches.ts'
import { permute } from './permute.ts'
import { probe } from './probe.ts'
import { rmsNorm } from './rms_norm.ts'
import { ropeCache } from './rope_cache.ts'
import { sample } from './sample.ts'
import { segmentMean } from './segment_mean.ts'
import { softCombine } from './soft_combine.ts'
import { softDispatch } from './soft_dispatch.ts'
import { softLogits } from './soft_logits.ts'
import { softWeights } from './soft_weights.ts'
import { topK } from './top_k.ts'

export * from './attention.ts'
export * from './attention_router.ts'
export * from './causal_pair.ts'
export * from './clamp.ts'
export * from './combine.ts'
export * from './embedding.ts'
export * from './expert_choice.ts'
export * from './gated_unit.ts'
export * from './gather_rows.ts'
export * from './grouped_gemm.ts'
export * from './head_linear.ts'
export * from './image_tokens.ts'
export * from './latent_attention.ts'
export * from './latent_cache.ts'
export * from './layer_norm.ts'
export * from './limit_capacity.ts'
export * from './linear.ts'
export * from './lora.ts'
export * from './patches.ts'
export * from './permute.ts'
export * from './probe.ts'
export * from './rms_norm.ts'
export * from './rope_cache.ts'
export * from './sample.ts'
export * from './segment_mean.ts'
export * from './soft_combine.ts'
export * from './soft_dispatch.ts'
export * from './soft_logits.ts'
export * from './soft_weights.ts'
export * from './top_k.ts'
export * from './names.ts'

export const all = {
  attention,
  attentionRouter,
  causalPair,
  clamp,
  combine,
  embedding,
  expertChoice,
  gatedUnit,
  gatherRows,
  groupedGemm,
  headLinear,
  imageTokens,
  latentAttention,
  latentCache,
  layerNorm,
  limitCapacity,
  linear,
  lora,
  patches,
  permute,
  probe,
  rmsNorm,
  ropeCache,
  sample,
  segmentMean,
  softCombine,
  softDispatch,
  softLogits,
  softWeights,
  topK,
}

export const weightFields: { readonly [op: string]: readonly string[] } = {
  groupedGemm: ['weights'],
  headLinear: ['weights'],
  linear: ['weight'],
}
