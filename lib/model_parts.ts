import type { ChatFormat } from './chat/chat_format.ts'
import type { Device } from './device.ts'
import type { CheckpointDefaults } from './engine/checkpoint_defaults.ts'
import type { LowRank } from './layers/projection.ts'
import type { Architecture } from './models/architecture.ts'
import type { ActivationDType, Tensor, Weight } from './native.ts'
import type { Parameters } from './parameters.ts'
import type { Tokenizer } from './tokenizer/index.ts'
import type { WeightsInfo } from './weights/formats.ts'

/** @internal What loadModel hands over. */
export interface ModelParts {
  graph: Architecture
  device: Device
  dtype: ActivationDType
  threads: number
  deterministic: boolean
  numBlocks: number
  maxWaiting?: number | undefined
  maxTokens: number
  parameters: Parameters
  weights: WeightsInfo[]
  tokenizer: Tokenizer | undefined
  chat?: ChatFormat | undefined
  stopIds: number[]
  checkpointDefaults: CheckpointDefaults
  /** Experts of low rank that the checkpoint has. */
  lowRank?: LowRank | undefined
  tensors: (Tensor | Weight)[]
}
