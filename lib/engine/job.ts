import type { ChunkOutputs, ChunkResult } from './chunk.ts'
import type { ExpertAdjust } from './experts.ts'
import type { SequenceState } from './sequence_state.ts'

/** Tokens that there is room for, and what sets their number. */
export interface Room {
  tokens: number
  setBy: string
}

/** Work of one caller: tokens of one sequence, to be processed over one or more steps. */
export interface Job {
  sequence: SequenceState
  /** Tokens that its cache has at the end: they must fit, but are not set aside. */
  reserveTokens: number
  /** Jobs of a lower number come first, else those that came first. */
  priority: number
  /** May start behind tokens that are cached: it wants nothing of them. */
  reuse: boolean
  hiddenStates: boolean
  routing: boolean
  /** Of the tokens that it appends. */
  experts: ExpertAdjust
  /**
   * Outputs wanted of the next `numTokens` tokens. `last`: they end the pending input. `ahead`: they follow a step
   * that has not ended.
   */
  outputs(numTokens: number, last: boolean, ahead: boolean): ChunkOutputs
  /** Samples one token after the other. */
  samples: boolean
  /** Sampling reads the text so far, so no step may follow before the sampled token is known. */
  usesHistory: boolean
  /** For another reason no step may follow, such as that what may come next depends on the sampled token. */
  waits: boolean
  /** Resolves when it can take part in a step; undefined: it can. Never rejects. */
  ready?: Promise<void> | undefined
  /** Most tokens of one step that this job wants, for instance because it reads large logits. */
  maxTokens: number
  /** It has room, and what is cached needs no pass. Called again after it had to make room. */
  onStart?(): void
  /**
   * Gets a step's results, the sequence already past it; false when the job is done. Tokens come again after the job
   * had to make room for another.
   */
  onResult(result: ChunkResult, numTokens: number): boolean
  onError(error: unknown): void
}
