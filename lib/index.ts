export type { AdapterInfo } from './adapters/adapter.ts'
export type { LoadAdapterOptions } from './adapters/adapter_set.ts'
export type { ChatPrompt, TemplateOptions } from './chat/chat_format.ts'
export type { ChatMessage, ChatTool, TextPart, ToolCall } from './chat/messages.ts'
export type { Constraint } from './constraints/constraint.ts'
export { type ConvertOptions, type ConvertProgress, convertCheckpoint } from './convert/convert.ts'
export {
  type QuantizeOptions,
  type QuantizeProgress,
  quantizeCheckpoint,
} from './convert/quantize.ts'
export { demoModel } from './demo.ts'
export { type DeviceInfo, type DeviceName, devices } from './device.ts'
export type { BlockCounts } from './engine/blocks.ts'
export type {
  GenerateChunk,
  GenerateOptions,
  GenerateResult,
  PromptLogprob,
  TokenLogprob,
} from './engine/completion.ts'
export type { ExpertOptions, LayerExpertOptions } from './engine/experts.ts'
export type { ForwardOptions, ForwardResult } from './engine/forward.ts'
export type { Generation } from './engine/generation.ts'
export type {
  LayerRoutingStats,
  RoutingStats,
  RoutingStatsOptions,
} from './engine/routing_stats.ts'
export type { SamplingOptions } from './engine/sampling.ts'
export type { ModelStats, StepKind } from './engine/scheduler.ts'
export type { Sequence, SequenceOptions } from './engine/sequence.ts'
export type { LayerRouting } from './engine/trace.ts'
export { MoeError, type MoeErrorCode } from './errors.ts'
export {
  type EvaluateOptions,
  type EvaluateProgress,
  type Evaluation,
  evaluate,
} from './evaluate.ts'
export type { DownloadProgress } from './hub/pull.ts'
export { type AnyModel, loadModel, type RandomModelOptions, randomModel } from './load.ts'
export type { LoadModelOptions } from './load_options.ts'
export type { LoadedModel } from './loaded_model.ts'
export type { ChatOptions, Model } from './model.ts'
export type { ModelConfig } from './models/config.ts'
export type { ActivationDType, DType, NumberArray, WeightFormat } from './native.ts'
export type * from './ops/types.ts'
export type { TokenIds } from './options.ts'
export type { Parameters } from './parameters.ts'
export { type ExpertPlacement, placeExperts } from './place_experts.ts'
export type { Seq2SeqConfig, StackConfig } from './seq2seq/config.ts'
export type { Seq2SeqGenerateOptions, Seq2SeqInput, TraceOptions } from './seq2seq/options.ts'
export type { Encoding, Seq2SeqForwardResult, Seq2SeqModel } from './seq2seq/seq2seq_model.ts'
export type { CappedRouting, StackTrace } from './seq2seq/trace.ts'
export {
  type Alone,
  type Arrays,
  type ArrayTensor,
  type AsArray,
  type AttentionArrays,
  type GroupedGemmArrays,
  type KernelOptions,
  kernels as ops,
  type LatentAttentionArrays,
} from './standalone/kernels.ts'
export type {
  DecodeOptions,
  EncodeAsyncOptions,
  EncodeOptions,
  TextStream,
  Tokenizer,
} from './tokenizer/index.ts'
export type { Capacity, VisionConfig, VisionRouter } from './vision/config.ts'
export type { ImageData, ImageInput } from './vision/images.ts'
export type {
  Classification,
  ClassifyOptions,
  Embedding,
  SoftVisionRouting,
  VisionModel,
  VisionRouting,
  VisionTrace,
} from './vision/vision_model.ts'
export type { LoadProgress } from './weights/checkpoint_weights.ts'
export type { Part, WeightsInfo, WeightsName, WeightsOption } from './weights/formats.ts'
export type { RopeKind, RopeSpec } from './weights/rope.ts'
export type { RopeRounding } from './weights/weights.ts'
