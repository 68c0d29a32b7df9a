import { openDevice } from '../device.ts'
import { blockBytes } from '../engine/cache.ts'
import type { LayerInfo } from '../layers/step.ts'
import { absentWeights, buildModel, buildWithoutWeights, release } from '../load.ts'
import { buildSeq2Seq, layersOf, seq2seqConfig } from '../load_seq2seq.ts'
import type { ActivationDType } from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import { countParameters } from '../parameters.ts'
import { isSeq2Seq } from '../seq2seq/config.ts'
import { EncoderDecoder } from '../seq2seq/encoder_decoder.ts'
import {
  type Checkpoint,
  type CheckpointConfig,
  openCheckpoint,
  openConfig,
} from '../weights/checkpoint.ts'
import { readWeights, weightsNames } from '../weights/formats.ts'
import { checkpointFolder, weightFile } from '../weights/mistakes.ts'
import type { WeightList } from '../weights/weights.ts'
import { loadOptions, modelDir, modelHelp, modelOptions, parse, printJson } from './options.ts'
import { size } from './progress.ts'

export const help = `moe-native info: what a checkpoint is and what it needs; reads no weights, a config.json is enough

  moe-native info
  moe-native info --model DIR --json

${modelHelp}`

const billions = (n: number): string =>
  n >= 1e9 ? `${(n / 1e9).toFixed(2)} billion` : `${(n / 1e6).toFixed(2)} million`

export async function run(args: string[]): Promise<void> {
  const { values } = parse(args, modelOptions)
  if (values.help) return void process.stdout.write(`${help}\n`)
  const dir = checkpointFolder('info', modelDir(values))
  const { device, dtype = 'auto', weights: asked = 'auto', ...rest } = loadOptions(values)
  const { maxTokens, ...rope } = rest
  const format = readWeights('info', asked, weightsNames)
  const { info: chosen, gpu } = openDevice(device)
  const activations = dtype === 'auto' ? (gpu ? 'bf16' : 'f32') : dtype
  const said = openConfig(dir)
  const hasWeights = said.files.some((name) => weightFile.test(name))
  const options = { ...rope, weights: format, maxTokens: maxTokens ?? 4096 }
  const entries = hasWeights ? openCheckpoint(dir).entries : undefined
  const read = isSeq2Seq(said.config) ? readSeq2Seq : readDecoder
  const about = read(said, entries, activations, options)
  const { config, layers, weights, experts, topK, rows: own } = about
  const parameters = countParameters(layers, weights)
  const cacheBytesPerToken = blockBytes(layers, activations) / blockTokens
  const memory = {
    weightBytes: weights.bytes,
    weights: weights.info,
    cacheBytesPerToken,
    fileBytes: fileBytes(entries?.values() ?? []),
  }
  if (values.json)
    return printJson({
      dir,
      architecture: config.architecture,
      hasWeights,
      parameters,
      experts,
      topK,
      memory,
      device: chosen,
      config,
    })
  const quantized = hasWeights || !said.quantization ? '' : ' without their quantization'
  const rows: [string, string][] = [
    ['checkpoint', hasWeights ? dir : `${dir} (no weights there, only what config.json says)`],
    ['architecture', config.architecture],
    [
      'parameters',
      `${billions(parameters.total)}, ${billions(parameters.activePerToken)} active per token`,
    ],
    ...own,
    [
      'memory',
      `${size(memory.weightBytes)} weights${quantized}, ${size(cacheBytesPerToken)} cache per token (${activations})`,
    ],
    ...weights.info.map(({ part, format, bytes }, i): [string, string] => [
      i === 0 ? 'weights' : '',
      `${part}, ${format}: ${size(bytes)}`,
    ]),
    ['device', `${chosen.name} (${chosen.reason})`],
  ]
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(13)} ${value}\n`)
}

interface Read {
  config: { architecture: string }
  layers: readonly LayerInfo[]
  weights: WeightList
  /** Of a layer, by kind. */
  experts: Record<string, number>
  topK: number
  rows: [string, string][]
}
type Entries = Checkpoint['entries'] | undefined
type Options = Parameters<typeof buildModel>[2]

function readDecoder(
  said: CheckpointConfig,
  entries: Entries,
  activations: ActivationDType,
  options: Options,
): Read {
  const { graph, weights } = entries
    ? buildModel({ ...said, entries }, activations, options)
    : buildWithoutWeights(said.config, options)
  const { config, layers } = graph
  const experts: Record<string, number> = {}
  for (const kind of config.experts) experts[kind] = (experts[kind] ?? 0) + 1
  const kinds = Object.entries(experts).map(([kind, n]) => `${n} ${kind}`)
  return {
    ...{ config, layers, weights, experts, topK: config.topK },
    rows: [
      [
        'layers',
        `${config.numLayers}, hidden ${config.hiddenSize}, vocabulary ${config.vocabSize}`,
      ],
      [
        'attention',
        `${config.numHeads} heads of ${config.headSize}, ${config.numKeyValueHeads} key/value heads`,
      ],
      ['experts', `${kinds.join(', ')}; top ${config.topK}, inner size ${config.expertSize}`],
    ],
  }
}

function readSeq2Seq(
  said: CheckpointConfig,
  entries: Entries,
  activations: ActivationDType,
  options: Options,
): Read {
  const { graph, weights } = entries
    ? buildSeq2Seq({ ...said, entries }, activations, options.weights ?? 'auto')
    : seq2seqWithoutWeights(said)
  const { config } = graph
  const { encoder, decoder, moe } = config
  return {
    ...{ config, weights, layers: layersOf(graph), topK: moe ? 1 : 0 },
    experts: moe ? { ffn: moe.numExperts } : {},
    rows: [
      [
        'layers',
        `${encoder.numLayers} encoder and ${decoder.numLayers} decoder, hidden ${config.hiddenSize}, vocabulary ${config.vocabSize}`,
      ],
      ['attention', `${config.numHeads} heads of ${config.headSize}, biases by distance`],
      [
        'experts',
        moe
          ? `${moe.numExperts} ffn in ${encoder.sparse.length} and ${decoder.sparse.length} layers; top 1, capacity ${moe.capacity}, inner size ${config.innerSize}`
          : `none; inner size ${config.innerSize}`,
      ],
    ],
  }
}

function seq2seqWithoutWeights(said: CheckpointConfig) {
  const weights = absentWeights(said.config)
  const graph = new EncoderDecoder(seq2seqConfig(said), weights)
  release(weights)
  return { graph, weights }
}

function fileBytes(entries: Iterable<{ bytes: number }>): number {
  let total = 0
  for (const { bytes } of entries) total += bytes
  return total
}
