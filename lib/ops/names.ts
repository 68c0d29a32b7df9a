// Made of csrc/ops/*.h by scripts/generate_ops.mjs.

/** Tokens of one block of the key/value cache. */
export const blockTokens = 32

/** Columns of a row's real options. */
export type SampleOption = 'temperature' | 'topP' | 'minP' | 'repetition' | 'presence' | 'frequency'
export const sampleOptionNames: readonly SampleOption[] = ['temperature', 'topP', 'minP', 'repetition', 'presence', 'frequency']

/**
 * Columns of a row's whole options. `topK` 0: all; `step` numbers the draw; `promptLength` is of
 * the history.
 */
export type SampleCount = 'topK' | 'seedLow' | 'seedHigh' | 'step' | 'promptLength'
export const sampleCountNames: readonly SampleCount[] = ['topK', 'seedLow', 'seedHigh', 'step', 'promptLength']

/** Kinds of experts (MoE++, arXiv:2410.07348, section 3.2). */
export type ExpertKind = 'ffn' | 'zero' | 'copy' | 'constant'
export const expertKindNames: readonly ExpertKind[] = ['ffn', 'zero', 'copy', 'constant']

/**
 * What a GEMM does to its sums before it stores them. The gated ones take gate_up weights and
 * halve the output's width.
 *
 * - `geluTanh`: Hendrycks and Gimpel 2016 (arXiv:1606.08415), the form by tanh
 * - `swiglu`: silu(gate) * up, Shazeer 2020 (arXiv:2002.05202)
 * - `swigluClamped`: (u + 1) * g * sigmoid(alpha * g), both clamped by `limit`, as gpt-oss has it
 * - `gegluTanh`: geluTanh(gate) * up
 */
export type Activation = 'none' | 'sigmoid' | 'tanh' | 'relu' | 'silu' | 'geluTanh' | 'swiglu' | 'swigluClamped' | 'gegluTanh'
export const activationNames: readonly Activation[] = ['none', 'sigmoid', 'tanh', 'relu', 'silu', 'geluTanh', 'swiglu', 'swigluClamped', 'gegluTanh']

/**
 * Who is served first where experts take only so many tokens.
 *
 * - `token`: by token, the better choice of each before its next one
 * - `choice`: all first choices by token, then all second ones
 * - `priority`: the same, tokens by falling weight of their first choice
 */
export type CapacityOrder = 'token' | 'choice' | 'priority'
export const capacityOrderNames: readonly CapacityOrder[] = ['token', 'choice', 'priority']

/**
 * What is measured.
 *
 * - `read`: every byte of `from`, once
 * - `copy`: `from` to `to`
 * - `empty`: nothing: what an op costs
 */
export type ProbeKind = 'read' | 'copy' | 'empty'
export const probeKindNames: readonly ProbeKind[] = ['read', 'copy', 'empty']

/**
 * How a logit becomes a score.
 *
 * - `softmax`: over all E experts
 * - `sigmoid`: of each logit alone
 * - `identity`: the logit itself
 * - `one`: 1, and 0 where the logit is minus infinity
 * - `sparsemixer`: softmax over the logits near the chosen one, among those not yet chosen
 */
export type RouterScore = 'softmax' | 'sigmoid' | 'identity' | 'one' | 'sparsemixer'
export const routerScoreNames: readonly RouterScore[] = ['softmax', 'sigmoid', 'identity', 'one', 'sparsemixer']

/**
 * What a chosen expert's weight is.
 *
 * - `renormalized`: its score's share of the chosen ones' sum; for softmax: softmax over the chosen
 * - `scores`: its score
 */
export type TopKWeights = 'renormalized' | 'scores'
export const topKWeightsNames: readonly TopKWeights[] = ['renormalized', 'scores']

/**
 * What a group of experts is worth where only some groups are kept.
 *
 * - `max`: its best expert
 * - `top2`: the sum of its two best
 */
export type GroupScore = 'max' | 'top2'
export const groupScoreNames: readonly GroupScore[] = ['max', 'top2']
