// Made of csrc/ops/*.h by scripts/generate_ops.mjs, which `npm run build` runs.

import type { DType, Plan, Tensor, Weight } from '../native.ts'

/** Tokens of one block of the key/value cache. */
export const blockTokens = 32

export const activationNames = ['none', 'silu', 'swiglu', 'tanh'] as const
export type Activation = (typeof activationNames)[number]

export const expertKindNames = ['ffn', 'zero', 'copy', 'constant'] as const
export type ExpertKind = (typeof expertKindNames)[number]

export const probeKindNames = ['read', 'copy', 'empty'] as const
export type ProbeKind = (typeof probeKindNames)[number]

export const sampleCountNames = ['topK', 'seedLow', 'seedHigh', 'step', 'promptLength'] as const
export type SampleCount = (typeof sampleCountNames)[number]

export const sampleOptionNames = ['temperature', 'topP', 'minP', 'repetition', 'presence', 'frequency'] as const
export type SampleOption = (typeof sampleOptionNames)[number]

export const topKWeightsNames = ['renormalized', 'softmax'] as const
export type TopKWeights = (typeof topKWeightsNames)[number]

export interface AttentionInputs {
  /** [T, N * D] f32 | bf16, may be a column slice */
  q: Tensor
  keys: Tensor
  values: Tensor
  /** [T] i32, first position that the token sees */
  starts: Tensor
  /** [T] i32, the last one: its own, where attention is causal */
  ends: Tensor
  /** [T] i32, row of the block table */
  sequences: Tensor
  /** [B, M] i32, cache blocks of each sequence in order */
  blockTable: Tensor
  scale: number
}

export interface AttentionOutputs {
  /** [T, N * D] dtype of q */
  out: Tensor
}

/**
 * Attention over the block-table cache, for any mix of prefill chunks and decode tokens.
 *
 *   out[t, n] = sum_s softmax_s(q[t, n] . key[s, n / (N / G)] * scale) value[s, n / (N / G)]
 *   for starts[t] <= s <= ends[t]
 *
 * Softmax in f32, online over blocks of 32 keys (Dao et al. 2022, arXiv:2205.14135); a block's
 * place depends on the position only, so a token's bits do not depend on its chunk or its
 * neighbours.
 */
export function attention(plan: Plan, inputs: AttentionInputs): AttentionOutputs {
  return plan.record('attention', inputs) as AttentionOutputs
}

export interface AttentionRouterInputs {
  /** [T, 3E] f32: query, key, value of each expert */
  qkv: Tensor
}

export interface AttentionRouterOutputs {
  /** [T, E] f32 */
  logits: Tensor
}

/**
 * Yuan 2.0-M32's attention router (arXiv:2405.17976, section 3.1; published code
 * `ParallelAttention_router`): per token, attention of the experts over each other.
 *
 *   A_ij = softmax_j(q_i k_j),  logits_i = sum_j A_ij v_j
 *
 * No scale, no mixing of tokens, all in f32.
 */
export function attentionRouter(plan: Plan, inputs: AttentionRouterInputs): AttentionRouterOutputs {
  return plan.record('attentionRouter', inputs) as AttentionRouterOutputs
}

export interface CausalPairInputs {
  /** [T, C] f32 | bf16 */
  x: Tensor
  /** [blocks, C] dtype of x, updated */
  state: Tensor
  /** [T] i32 */
  positions: Tensor
  /** [T] i32, cache slots */
  slots: Tensor
  /** [T] i32, ascending */
  sequences: Tensor
  /** [B, M] i32 */
  blockTable: Tensor
}

export interface CausalPairOutputs {
  /** [T, 2C] dtype of x */
  out: Tensor
}

/**
 * Each token's row beside the row of the token before it: the input of a causal two-tap
 * convolution, which then is a plain matrix product (Yuan's localized filtering, arXiv:2405.17976,
 * section 3).
 *
 *   out[t, 2c] = previous(t)[c],  out[t, 2c + 1] = x[t, c]
 *
 * Interleaved, so that a convolution weight [out, in, 2, 1] is the matrix as it stands. `previous`
 * is the row above in the same sequence, the saved state for the first token of a chunk, and zero
 * at position 0. The state of a cache block is the row of the last token written to it, so it is
 * shared, forked and truncated with the block.
 */
export function causalPair(plan: Plan, inputs: CausalPairInputs): CausalPairOutputs {
  return plan.record('causalPair', inputs) as CausalPairOutputs
}

export interface CombineInputs {
  /** [R, H] f32 | bf16, rows grouped by expert */
  expertOut: Tensor
  /** [T, K] i32, row of expertOut; -1 for experts that are no FFN */
  rows: Tensor
  /** [T, K] i32 */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [T, H] f32 */
  residual: Tensor
  /** of the E experts */
  kinds: readonly ExpertKind[]
  /** [T, H] dtype of expertOut; for copy and constant experts */
  x?: Tensor | undefined
  /** [C, H] f32, one for each constant expert in order */
  constants?: Tensor | undefined
  /** [C, 2, H] f32, the gate of each constant expert */
  gates?: Tensor | undefined
  /** of x, as the experts see it */
  scale?: number | undefined
}

export interface CombineOutputs {
  /** [T, H] f32 */
  out: Tensor
}

/**
 * Weighted sum of what a token's experts return, back in token order, plus the residual stream.
 *
 *   out[t] = residual[t] + sum_k weights[t, k] * y_k, with xs = scale * x[t] and
 *   ffn:       y = expertOut[rows[t, k]]
 *   zero:      y = 0
 *   copy:      y = xs
 *   constant:  y = a1 xs + a2 constants[c], [a1, a2] = softmax(gates[c] xs)
 *
 * Copy and constant experts become scalars per token. Sums in f32: residual, then x, then
 * constants in order, then FFN slots with k ascending, so every run and every batch gives the same
 * bits.
 */
export function combine(plan: Plan, inputs: CombineInputs): CombineOutputs {
  return plan.record('combine', inputs) as CombineOutputs
}

export interface EmbeddingInputs {
  /** [V, H] f32 | bf16 | f16 */
  table: Tensor
  /** [T] i32, in [0, V) */
  ids: Tensor
}

export interface EmbeddingOutputs {
  /** [T, H] f32 */
  out: Tensor
}

/**
 * Rows of the embedding table: out[t, :] = table[ids[t], :].
 */
export function embedding(plan: Plan, inputs: EmbeddingInputs): EmbeddingOutputs {
  return plan.record('embedding', inputs) as EmbeddingOutputs
}

export interface GatherRowsInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [R] i32, in [0, T) */
  rows: Tensor
}

export interface GatherRowsOutputs {
  /** [R, H] dtype of x */
  out: Tensor
}

/**
 * out[r, :] = x[rows[r], :], so that the output head sees only the positions asked for.
 */
export function gatherRows(plan: Plan, inputs: GatherRowsInputs): GatherRowsOutputs {
  return plan.record('gatherRows', inputs) as GatherRowsOutputs
}

export interface GroupedGemmInputs {
  /** [R, K] f32 | bf16 */
  x: Tensor
  /** [G + 1] i32 */
  offsets: Tensor
  /** G times [N, K] of one format; gate_up for swiglu */
  weights: readonly Weight[]
  activation?: Activation | undefined
  /** f32 | bf16 */
  dtype?: DType | undefined
}

export interface GroupedGemmOutputs {
  /** [R, N] ([R, N / 2] for swiglu) dtype */
  out: Tensor
}

/**
 * One GEMM per expert over rows grouped by expert (Shazeer et al. 2017, arXiv:1701.06538).
 *
 *   out[r, :] = activation(x[r, :] W_g^T)  for offsets[g] <= r < offsets[g + 1]
 *
 * Weights come one per expert, so that they can live anywhere. Sums in f32. Rows at and beyond
 * offsets[G] are not touched.
 */
export function groupedGemm(plan: Plan, inputs: GroupedGemmInputs): GroupedGemmOutputs {
  return plan.record('groupedGemm', inputs) as GroupedGemmOutputs
}

export interface LinearInputs {
  /** [T, K] f32 | bf16, may be a column slice */
  x: Tensor
  /** [N, K]; gate_up for swiglu */
  weight: Weight
  /** [N] f32; gate rows, then up rows for swiglu */
  bias?: Tensor | undefined
  /** [T, N] f32 */
  residual?: Tensor | undefined
  activation?: Activation | undefined
  /** f32 | bf16 */
  dtype?: DType | undefined
}

export interface LinearOutputs {
  /** [T, N] ([T, N / 2] for swiglu) dtype */
  out: Tensor
}

/**
 * Dense projection: out = activation(x W^T + bias) + residual, sums in f32.
 * It is the grouped GEMM with one group.
 */
export function linear(plan: Plan, inputs: LinearInputs): LinearOutputs {
  return plan.record('linear', inputs) as LinearOutputs
}

export interface PermuteInputs {
  /** [T, H] f32 | bf16 */
  x: Tensor
  /** [T, K] i32, distinct; -1: none */
  rows: Tensor
  scale?: number | undefined
}

export interface PermuteOutputs {
  /** [T * K, H] dtype of x; rows that no slot has are not written */
  out: Tensor
}

/**
 * Token rows grouped by expert, as `topK` has placed them.
 *
 *   out[rows[t, k], :] = scale * x[t, :]   for each slot that has a row
 */
export function permute(plan: Plan, inputs: PermuteInputs): PermuteOutputs {
  return plan.record('permute', inputs) as PermuteOutputs
}

export interface ProbeInputs {
  /** [n] f32 */
  from: Tensor
  /** [n] f32; for `read` [4096], partial sums */
  to: Tensor
  kind: ProbeKind
}

/**
 * What a device can do, as an op, so that ceilings are measured as the kernels are.
 */
export function probe(plan: Plan, inputs: ProbeInputs): void {
  plan.record('probe', inputs)
}

export interface RmsNormInputs {
  /** [T, H] f32 */
  x: Tensor
  /** [H] f32 */
  weight: Tensor
  eps: number
  /** f32 | bf16 */
  dtype?: DType | undefined
  keepF32?: boolean | undefined
}

export interface RmsNormOutputs {
  /** [T, H] dtype */
  out: Tensor
  /** [T, H] f32, with keepF32 where out is rounded */
  exact?: Tensor | undefined
}

/**
 * Root mean square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
 *
 *   out[t, h] = x[t, h] / sqrt(mean_h(x[t, h]^2) + eps) * weight[h]
 *
 * Statistics and product in f32; rounded once, to `dtype`. With `keepF32` also without rounding,
 * for who reads both.
 */
export function rmsNorm(plan: Plan, inputs: RmsNormInputs): RmsNormOutputs {
  return plan.record('rmsNorm', inputs) as RmsNormOutputs
}

export interface RopeCacheInputs {
  /** [T, N * D] f32 | bf16, rotated in place; may be a column slice */
  q: Tensor
  /** [T, G * D] dtype of q */
  k: Tensor
  /** [T, G * D] dtype of q */
  v: Tensor
  /** [T] i32, below the table's rows */
  positions: Tensor
  /** [T] i32, cache slot of each token */
  slots: Tensor
  /** [P, r] f32: r/2 cosines, then r/2 sines */
  table: Tensor
  /** [blocks, G, D, 32] dtype of q */
  keys: Tensor
  /** [blocks, G, 32, D] dtype of q */
  values: Tensor
}

/**
 * Rotary position embedding (Su et al. 2021, arXiv:2104.09864) on queries and keys, and the write
 * of keys and values to the cache.
 *
 * Half-split pairs over the first r values of a head, r/2 = table columns / 2:
 *   a'_j = a_j cos - a_{j + r/2} sin,  a'_{j + r/2} = a_{j + r/2} cos + a_j sin
 * The other D - r values pass unchanged. Queries are rotated in place.
 *
 * Cache block b holds keys [G, D, 32] (so that the scores of 32 keys are one vector operation) and
 * values [G, 32, D]; token slot s is block s / 32, column s % 32.
 */
export function ropeCache(plan: Plan, inputs: RopeCacheInputs): void {
  plan.record('ropeCache', inputs)
}

export interface SampleInputs {
  /** [>= S, V] f32; the first S rows are sampled */
  logits: Tensor
  /** [S, 6] f32: SampleOption */
  options: Tensor
  /** [S, 5] i32: SampleCount */
  counts: Tensor
  /** [*] i32: the rows' tokens so far, one after the other */
  history: Tensor
  /** [S + 1] i32; an empty range where no penalty is used */
  historyOffsets: Tensor
  /** ids at and beyond it are never drawn */
  vocabulary: number
  /** N, best ids to report */
  top?: number | undefined
}

export interface SampleOutputs {
  /** [S] i32 */
  ids: Tensor
  /** [S] f32 */
  logprobs: Tensor
  /** [S, N] i32, best first; with top */
  topIds?: Tensor | undefined
  /** [S, N] f32; with top */
  topLogprobs?: Tensor | undefined
}

/**
 * One next token per row of logits.
 *
 * In this order, as transformers does: repetition penalty on prompt and new tokens (Keskar et al.
 * 2019, arXiv:1909.05858, eq. 2: positive logits divided, negative multiplied), frequency and
 * presence penalty on new tokens (OpenAI), temperature, top-k, top-p (Holtzman et al. 2019,
 * arXiv:1904.09751: the smallest set whose mass reaches p), min-p (arXiv:2407.01082), one draw.
 * Temperature 0 takes the best, the lowest id among equals. NaN logits count as minus infinity.
 * `logprobs` are natural logs of the softmax of the unmodified logits.
 */
export function sample(plan: Plan, inputs: SampleInputs): SampleOutputs {
  return plan.record('sample', inputs) as SampleOutputs
}

export interface TopKInputs {
  /** [T, E] f32 */
  logits: Tensor
  /** of the E experts */
  kinds: readonly ExpertKind[]
  /** K, 1 to E */
  topK: number
  weights: TopKWeights
  /** 0: no logits norm */
  normStd?: number | undefined
  /** E flags, or empty */
  givesShare?: readonly boolean[] | undefined
}

export interface TopKOutputs {
  /** [T, K] i32 */
  ids: Tensor
  /** [T, K] f32 */
  weights: Tensor
  /** [G + 1] i32, rows of group g are offsets[g] to offsets[g + 1] */
  offsets: Tensor
  /** [T, K] i32, the row of each slot; -1: no row */
  rows: Tensor
}

/**
 * Fused top-k routing: the K best experts of each token, best first, their weights, and where each
 * slot's row goes when rows are grouped by expert.
 *
 * Only FFN experts have a group, counted up in their order: slots of zero, copy and constant
 * experts get row -1 and never enter the GEMM. Rows are in token order inside a group, so they are
 * the same in every run.
 *
 * Optionally the logits are first divided by their unbiased standard deviation and multiplied by
 * `normStd` (MoE++'s logits norm; published code, from Skywork-MoE). Experts marked in
 * `givesShare` (MoE++'s zero expert in standard gating) may be chosen, then weigh 0, and the
 * others share the 1. Equal logits go to the lowest expert id. NaN counts as minus infinity, so
 * ids stay distinct and weights finite; equal logits have no spread and are not normalised.
 */
export function topK(plan: Plan, inputs: TopKInputs): TopKOutputs {
  return plan.record('topK', inputs) as TopKOutputs
}
