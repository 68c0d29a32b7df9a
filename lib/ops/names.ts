// Made of csrc/ops/*.h by scripts/generate_ops.mjs.

/** Tokens of one block of the key/value cache. */
export const blockTokens = 32

export const sampleOptionNames = ['temperature', 'topP', 'minP', 'repetition', 'presence', 'frequency'] as const
export type SampleOption = (typeof sampleOptionNames)[number]

export const sampleCountNames = ['topK', 'seedLow', 'seedHigh', 'step', 'promptLength'] as const
export type SampleCount = (typeof sampleCountNames)[number]

export const expertKindNames = ['ffn', 'zero', 'copy', 'constant'] as const
export type ExpertKind = (typeof expertKindNames)[number]

export const activationNames = ['none', 'silu', 'swiglu', 'tanh'] as const
export type Activation = (typeof activationNames)[number]

export const probeKindNames = ['read', 'copy', 'empty'] as const
export type ProbeKind = (typeof probeKindNames)[number]

export const topKWeightsNames = ['renormalized', 'softmax'] as const
export type TopKWeights = (typeof topKWeightsNames)[number]
