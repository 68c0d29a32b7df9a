import type { ChatFormat } from './chat/chat_format.ts'
import type { CheckpointDefaults } from './engine/checkpoint_defaults.ts'
import type { LowRank } from './layers/projection.ts'
import type { LoadedParts } from './loaded_model.ts'
import type { Architecture } from './models/architecture.ts'
import type { Tensor, Weight } from './native.ts'
import type { Tokenizer } from './tokenizer/index.ts'

/** @internal What loadModel hands over. */
export interface ModelParts extends LoadedParts {
  graph: Architecture
  threads: number
  deterministic: boolean
  numBlocks: number
  maxWaiting?: number | undefined
  maxTokens: number
  tokenizer: Tokenizer | undefined
  chat?: ChatFormat | undefined
  stopIds: number[]
  checkpointDefaults: CheckpointDefaults
  /** Experts of low rank that the checkpoint has. */
  lowRank?: LowRank | undefined
  tensors: (Tensor | Weight)[]
}
