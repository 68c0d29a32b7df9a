import { openDevice } from '../device.ts'
import { blockBytes } from '../engine/cache.ts'
import { buildModel, buildWithoutWeights } from '../load.ts'
import { blockTokens } from '../ops/index.ts'
import { countParameters } from '../parameters.ts'
import { openCheckpoint, openConfig } from '../weights/checkpoint.ts'
import { readWeights, weightsNames } from '../weights/formats.ts'
import { checkpointFolder, weightFile } from '../weights/mistakes.ts'
import { panelsOf } from '../weights/panels.ts'
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
  const { maxTokens = 4096, gpuMemory, ...rope } = rest
  const format = readWeights('info', asked, weightsNames)
  const { info: chosen, gpu } = openDevice(device)
  const activations = dtype === 'auto' ? (gpu ? 'bf16' : 'f32') : dtype
  const said = openConfig(dir)
  const hasWeights = said.files.some((name) => weightFile.test(name))
  const options = { ...rope, weights: format }
  const entries = hasWeights ? openCheckpoint(dir).entries : undefined
  const { graph, weights } = entries
    ? buildModel({ ...said, entries }, activations, options, panelsOf(entries) ? undefined : gpu)
    : buildWithoutWeights(said.config, options, gpu)
  weights.positions = maxTokens
  const { config } = graph
  const parameters = countParameters(graph.layers, weights)
  const experts: Record<string, number> = {}
  for (const kind of config.experts) experts[kind] = (experts[kind] ?? 0) + 1
  const cacheBytesPerToken = blockBytes(graph.layers, activations) / blockTokens
  if (gpu && gpuMemory !== undefined) {
    const others = weights.bytes - weights.expertBytes + maxTokens * cacheBytesPerToken
    weights.limitExperts(gpuMemory - others)
  }
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
      topK: config.topK,
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
    ['layers', `${config.numLayers}, hidden ${config.hiddenSize}, vocabulary ${config.vocabSize}`],
    [
      'attention',
      `${config.numHeads} heads of ${config.headSize}, ${config.numKeyValueHeads} key/value heads`,
    ],
    [
      'experts',
      `${Object.entries(experts)
        .map(([kind, n]) => `${n} ${kind}`)
        .join(', ')}; top ${config.topK}, inner size ${config.expertSize}`,
    ],
    [
      'memory',
      `${size(memory.weightBytes)} weights${quantized}, ${size(cacheBytesPerToken)} cache per token (${activations})`,
    ],
    ...weights.info.map(({ part, format, bytes, memory }, i): [string, string] => [
      i === 0 ? 'weights' : '',
      `${part}, ${format}: ${size(bytes)}${gpu && memory === 'host' ? ' in host memory' : ''}`,
    ]),
    ['device', `${chosen.name} (${chosen.reason})`],
  ]
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(13)} ${value}\n`)
}

function fileBytes(entries: Iterable<{ bytes: number }>): number {
  let total = 0
  for (const { bytes } of entries) total += bytes
  return total
}
