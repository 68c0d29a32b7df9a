import type { Sampling } from './sampling.ts'
import type { SequenceState } from './sequence_state.ts'

/** Most sequences of one step. */
export const maxSequences = 64
/**
 * Most tokens of one step; longer prompts come in chunks. A GPU reads all experts for each chunk, which pays from
 * some thousand tokens on; the CPU is busy with fewer, and the next step is not far.
 */
export const maxStepTokens = { cpu: 512, gpu: 4096 }
/** Most alternatives that `logprobs` reports. */
export const maxLogprobs = 20

/** One sequence's share of a step: its next `take` tokens. */
export interface Slice {
  sequence: SequenceState
  take: number
  /** The one token of the slice is what the step before it draws: its id is not known yet. */
  ahead: boolean
  /** Tokens of the slice, from the last one back, whose logits are wanted as they are. */
  logitRows: number
  /** Draw the token that follows the slice. */
  draw?: { sampling: Sampling; step: number; promptLength: number; top: number } | undefined
}

/** Tokens of a step. */
export const tokensOf = (slices: Slice[]): number => slices.reduce((n, { take }) => n + take, 0)

/** What a slice gets back. Arrays are row-major. */
export interface SliceResult {
  logits?: Float32Array
  hiddenStates?: Float32Array[]
  routing?: { expertIds: Int32Array; weights: Float32Array; logits: Float32Array }[]
  drawn?: { id: number; logprob: number; top: { id: number; logprob: number }[] }
}
