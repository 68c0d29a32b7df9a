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
  /** Attention over the block-table cache, for any mix of prefill chunks and decode tokens. */
  attention,
  /**
   * Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1; published code
   * `ParallelAttention_router`): per token, attention of the experts over each other.
   */
  attentionRouter,
  /**
   * Each token's row beside the row of the token before it: the input of a causal two-tap
   * convolution, which then is a plain matrix product (Yuan's localized filtering, arXiv:2405.17976,
   * section 3).
   */
  causalPair,
  /** x = min(max(x, -limit), limit), in place. NaN stays. */
  clamp,
  /** Weighted sum of what a token's experts return, back in token order, plus the residual stream. */
  combine,
  /** Rows of the embedding table: out[t, :] = scale * table[ids[t], :]. */
  embedding,
  /**
   * Experts choose tokens (arXiv:2202.09368, section 3.2): each takes the `capacity` tokens of a
   * segment with the largest p = softmax(logits of the token), or all of a shorter segment. Equal p
   * go to the lower token. A token is taken by none up to all of the experts, so a slot stands for
   * each expert: K = E.
   */
  expertChoice,
  /**
   * A gated linear unit (Shazeer 2020, arXiv:2002.05202) of sums that are no longer inside a GEMM,
   * since something was added to them. `linear` and `groupedGemm` do their own.
   */
  gatedUnit,
  /** out[r, :] = x[rows[r], :], so that the output head sees only the positions asked for. */
  gatherRows,
  /** One GEMM per expert over rows grouped by expert (Shazeer et al. 2017, arXiv:1701.06538). */
  groupedGemm,
  /**
   * A projection of its own for each head, as the two halves of an absorbed key/value projection are
   * (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1.2).
   */
  headLinear,
  /**
   * The tokens of images: a class token in front, if there is one, and positions added
   * (arXiv:2010.11929, equation 1).
   */
  imageTokens,
  /**
   * Multi-head latent attention in its absorbed form (DeepSeek-AI 2024, arXiv:2405.04434, section
   * 2.1.2): all query heads read one row [c, r] a token, as key and as value.
   */
  latentAttention,
  /**
   * What multi-head latent attention keeps of a token, and rotary positions on its queries
   * (DeepSeek-AI 2024, arXiv:2405.04434, eq. 9, 14, 15).
   */
  latentCache,
  /** Layer norm (Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4). */
  layerNorm,
  /**
   * Places the choices of `topK` where each expert takes at most `capacity` tokens of a segment. A
   * choice that is dropped has row -1 and adds nothing; its id and weight stay, and no other choice
   * gets its share.
   */
  limitCapacity,
  /** Dense projection, sums in f32. It is the grouped GEMM with one group. */
  linear,
  /**
   * What low-rank experts add beside a projection (LoRA, arXiv:2106.09685, section 4.1; chosen for
   * each token: PHATGOOSE, arXiv:2402.05859, section 3).
   */
  lora,
  /**
   * The patches of images as rows (Vision Transformer, arXiv:2010.11929, section 3.1), in row-major
   * order, a pixel's channels innermost. Rows and columns of pixels that fill no patch are left out.
   * Bytes become value / 127.5 - 1, which is in [-1, 1].
   */
  patches,
  /** Token rows grouped by expert, as `topK` has placed them. */
  permute,
  /** What a device can do, as an op, so that ceilings are measured as the kernels are. */
  probe,
  /** Root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4). */
  rmsNorm,
  /**
   * Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on queries and keys, and the write
   * of keys and values to the cache.
   */
  ropeCache,
  /** One next token per row of logits. */
  sample,
  /** The mean of each segment's rows, in f32, summed in order. A segment without rows has mean 0. */
  segmentMean,
  /**
   * What Soft MoE's experts return, mixed for each token, plus the residual stream
   * (arXiv:2308.00951, section 2.1). Rows as in softDispatch.
   */
  softCombine,
  /**
   * The rows that Soft MoE's experts see (arXiv:2308.00951, section 2.1): each slot is a mix of all
   * tokens of its segment. Of B segments and E experts of P slots, slot p of expert e and segment b
   * is row (e B + b) P + p, so that an expert's rows are together.
   */
  softDispatch,
  /**
   * Router logits of Soft MoE as its published code has them (arXiv:2308.00951, section 2.3):
   * cosines of tokens and slots, times a learnt scale.
   */
  softLogits,
  /**
   * The two softmaxes of Soft MoE (arXiv:2308.00951, equations 1 and 2): what a slot takes of each
   * token of its segment, and what a token takes of each slot.
   */
  softWeights,
  /**
   * Fused top-k routing: the K best experts of each token, best first, their weights, and where each
   * slot's row goes when rows are grouped by expert.
   */
  topK,
}

export const weightFields: { readonly [op: string]: readonly string[] } = {
  groupedGemm: ['weights'],
  headLinear: ['weights'],
  linear: ['weight'],
}
