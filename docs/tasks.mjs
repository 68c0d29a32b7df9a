// A plugin of typedoc: sorts the reference by what a reader wants to do. An export without a task or a docstring fails the build.
import { CommentTag, Converter } from 'typedoc'

const tasks = {
  'Load a model': [
    ...[
      'loadModel',
      'LoadModelOptions',
      'LoadProgress',
      'DownloadProgress',
      'demoModel',
      'randomModel',
      'RandomModelOptions',
    ],
    ...[
      'LoadedModel',
      'AnyModel',
      'ModelConfig',
      'Parameters',
      'WeightsOption',
      'WeightsName',
      'WeightsInfo',
      'WeightFormat',
      'Part',
    ],
    ...['ActivationDType', 'RopeSpec', 'RopeKind', 'RopeRounding'],
  ],
  Devices: ['devices', 'DeviceInfo', 'DeviceName'],
  'Generate text': [
    ...[
      'Model',
      'GenerateOptions',
      'SamplingOptions',
      'Constraint',
      'Generation',
      'GenerateChunk',
      'GenerateResult',
    ],
    ...[
      'TokenLogprob',
      'PromptLogprob',
      'TokenIds',
      'Sequence',
      'SequenceOptions',
      'ModelStats',
      'StepKind',
      'BlockCounts',
    ],
  ],
  Chat: [
    'ChatOptions',
    'ChatMessage',
    'TextPart',
    'ChatTool',
    'ToolCall',
    'ChatPrompt',
    'TemplateOptions',
  ],
  Tokenize: ['Tokenizer', 'TextStream', 'EncodeOptions', 'EncodeAsyncOptions', 'DecodeOptions'],
  Serve: ['serve', 'ServeOptions', 'RunningServer', 'ServedRequest'],
  'Logits and routing': [
    ...['ForwardOptions', 'ForwardResult', 'LayerRouting', 'ExpertOptions', 'LayerExpertOptions'],
    ...[
      'RoutingStats',
      'RoutingStatsOptions',
      'LayerRoutingStats',
      'placeExperts',
      'ExpertPlacement',
    ],
  ],
  'Convert and quantise': [
    ...[
      'convertCheckpoint',
      'ConvertOptions',
      'ConvertProgress',
      'quantizeCheckpoint',
      'QuantizeOptions',
      'QuantizeProgress',
    ],
    ...['evaluate', 'EvaluateOptions', 'EvaluateProgress', 'Evaluation'],
  ],
  'LoRA adapters': ['LoadAdapterOptions', 'AdapterInfo'],
  'Encoder-decoders': [
    ...[
      'Seq2SeqModel',
      'Seq2SeqConfig',
      'StackConfig',
      'Seq2SeqGenerateOptions',
      'Seq2SeqInput',
      'TraceOptions',
    ],
    ...['Encoding', 'Seq2SeqForwardResult', 'CappedRouting', 'StackTrace'],
  ],
  Images: [
    ...[
      'VisionModel',
      'VisionConfig',
      'VisionRouter',
      'Capacity',
      'ImageInput',
      'ImageData',
      'ClassifyOptions',
    ],
    ...['Classification', 'Embedding', 'VisionTrace', 'VisionRouting', 'SoftVisionRouting'],
  ],
  Kernels: [
    ...[
      'ops',
      'KernelOptions',
      'ArrayTensor',
      'Arrays',
      'AsArray',
      'Alone',
      'NumberArray',
      'DType',
    ],
    ...[
      'Activation',
      'ExpertKind',
      'RouterScore',
      'TopKWeights',
      'GroupScore',
      'CapacityOrder',
      'SampleOption',
      'SampleCount',
    ],
    /(Inputs|Outputs|Arrays)$/,
  ],
  Errors: ['MoeError', 'MoeErrorCode'],
}

const matches = (one, name) => (one instanceof RegExp ? one.test(name) : one === name)
const places = Object.entries(tasks).flatMap(([task, ones]) => ones.map((one) => ({ task, one })))
const placeOf = (name) => places.findIndex(({ one }) => matches(one, name))

/** @param {import('typedoc').Application} app */
export function load(app) {
  const { logger } = app
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const list of [project.children, project.childrenIncludingDocuments])
      list.sort((a, b) => placeOf(a.name) - placeOf(b.name))
    for (const reflection of project.children) {
      const { comment } = reflection.signatures?.[0] ?? reflection
      const place = places[placeOf(reflection.name)]
      if (!place) logger.error(`${reflection.name} is in no task of docs/tasks.mjs`)
      else if (!comment?.summary.length) logger.error(`${reflection.name} has no docstring`)
      else comment.blockTags.push(new CommentTag('@category', [{ kind: 'text', text: place.task }]))
    }
    for (const { one } of places)
      if (!project.children.some(({ name }) => matches(one, name)))
        logger.error(`docs/tasks.mjs names ${one}, which is not exported`)
  })
}
