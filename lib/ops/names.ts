// Made of csrc/ops/*.h by scripts/generate_ops.mjs.

/** Tokens of one block of the key/value cache. */
export const blockTokens = 32

export type SampleOption = 'temperature' | 'topP' | 'minP' | 'repetition' | 'presence' | 'frequency'
export const sampleOptionNames: readonly SampleOption[] = ['temperature', 'topP', 'minP', 'repetition', 'presence', 'frequency']

export type SampleCount = 'topK' | 'seedLow' | 'seedHigh' | 'step' | 'promptLength'
export const sampleCountNames: readonly SampleCount[] = ['topK', 'seedLow', 'seedHigh', 'step', 'promptLength']

export type ExpertKind = 'ffn' | 'zero' | 'copy' | 'constant'
export const expertKindNames: readonly ExpertKind[] = ['ffn', 'zero', 'copy', 'constant']

export type Activation = 'none' | 'sigmoid' | 'tanh' | 'relu' | 'silu' | 'geluTanh' | 'swiglu' | 'swigluClamped' | 'gegluTanh'
export const activationNames: readonly Activation[] = ['none', 'sigmoid', 'tanh', 'relu', 'silu', 'geluTanh', 'swiglu', 'swigluClamped', 'gegluTanh']

export type CapacityOrder = 'token' | 'choice' | 'priority'
export const capacityOrderNames: readonly CapacityOrder[] = ['token', 'choice', 'priority']

export type ProbeKind = 'read' | 'copy' | 'empty'
export const probeKindNames: readonly ProbeKind[] = ['read', 'copy', 'empty']

export type RouterScore = 'softmax' | 'sigmoid' | 'identity' | 'one' | 'sparsemixer'
export const routerScoreNames: readonly RouterScore[] = ['softmax', 'sigmoid', 'identity', 'one', 'sparsemixer']

export type TopKWeights = 'renormalized' | 'scores'
export const topKWeightsNames: readonly TopKWeights[] = ['renormalized', 'scores']

export type GroupScore = 'max' | 'top2'
export const groupScoreNames: readonly GroupScore[] = ['max', 'top2']
