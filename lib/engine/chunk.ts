import type { ExpertAdjust } from './experts.ts'
import type { Sampling } from './sampling.ts'
import type { SequenceState } from './sequence_state.ts'
import type { LayerRouting } from './trace.ts'

/** Most sequences of one step. */
export const maxSequences = 64
/**
 * Most tokens of one step; longer prompts come in chunks. A GPU reads all experts for each chunk, which pays from
 * some thousand tokens on; the CPU is busy with fewer, and the next step is not far.
 */
export const maxStepTokens = { cpu: 512, gpu: 4096 }
/** Most alternatives that `logprobs` reports. */
export const maxLogprobs = 20

/** How the token behind a chunk is chosen. */
export interface SampleRequest {
  sampling: Sampling
  step: number
  promptLength: number
  top: number
  /** Bit v % 32 of word v / 32 allows id v; undefined: all are allowed. */
  mask?: Int32Array | undefined
}

/** What a chunk is to give back. */
export interface ChunkOutputs {
  /** Tokens, from the last one back, whose logits are wanted as they are. */
  logitRows: number
  /**
   * What is asked of the tokens before the last one, or to the end of a chunk that nothing is sampled behind: the draws
   * say which tokens follow them, and how likely those are.
   */
  scores?: readonly SampleRequest[] | undefined
  /** Sample the token that follows the chunk. */
  sample?: SampleRequest | undefined
}

/** One sequence's share of a step: its next `numTokens` tokens. */
export interface ScheduledChunk extends ChunkOutputs {
  sequence: SequenceState
  numTokens: number
  /** What its call changes of the routing. */
  experts?: ExpertAdjust
  /** The one token of the chunk is what the step before it samples: its id is not known yet. */
  ahead: boolean
}

/** Tokens of a step. */
export const tokensOf = (chunks: ScheduledChunk[]): number =>
  chunks.reduce((n, { numTokens }) => n + numTokens, 0)

/** What is drawn behind the last tokens of a chunk, in their order. */
export const drawsOf = ({ scores = [], sample }: ChunkOutputs): readonly SampleRequest[] =>
  sample ? [...scores, sample] : scores

/** Position of a chunk's first token. */
export const startOf = ({ sequence, ahead }: ScheduledChunk): number =>
  ahead ? sequence.ids.length : sequence.cached

/** A token that was drawn. */
export interface Sampled {
  id: number
  logprob: number
  top: { id: number; logprob: number }[]
  /** The lowest id whose logit is NaN or infinite, so that the rest means nothing; -1: none is. */
  nonFinite: number
}

/** What a chunk gets back. Arrays are row-major. */
export interface ChunkResult {
  logits?: Float32Array
  hiddenStates?: Float32Array[]
  routing?: (LayerRouting | undefined)[]
  /** One for each of `scores`. */
  scored?: Sampled[]
  sampled?: Sampled
}
