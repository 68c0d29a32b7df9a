import { planMemory } from '../cache_size.ts'
import { findTemplates } from '../chat/template_source.ts'
import { activationDType, type Device, devices, openDevice } from '../device.ts'
import { blockBytes } from '../engine/cache.ts'
import { MoeError } from '../errors.ts'
import { buildModel, buildWithoutWeights } from '../load.ts'
import { endIds } from '../load_rest.ts'
import type { ModelConfig } from '../models/config.ts'
import { blockTokens } from '../ops/index.ts'
import { countParameters } from '../parameters.ts'
import { openTokenizer, type Tokenizer } from '../tokenizer/index.ts'
import { readTokenFiles } from '../tokenizer/token_files.ts'
import { readWeights, weightsNames } from '../weights/formats.ts'
import { panelsOf } from '../weights/panels.ts'
import {
  billions,
  elementText,
  elementTypes,
  type Facts,
  type InfoRequest,
  lowRankFacts,
} from './facts.ts'
import { size } from './progress.ts'

/** The graph on a device, and what its memory would be; `advice` where it does not fit. Packed folders are the CPU's. */
function fitted(device: Device, request: InfoRequest) {
  const { said, entries, options } = request
  const { weights: asked = 'auto', ropeTheta, ropeTable } = options
  const rest = { ropeTheta, ropeTable, weights: readWeights('info', asked, weightsNames) }
  const dtype = activationDType(device, options.dtype)
  const packed = entries !== undefined && panelsOf(entries) !== undefined
  const { graph, weights } = entries
    ? buildModel({ ...said, entries }, dtype, rest, packed ? undefined : device.gpu)
    : buildWithoutWeights(said.config, rest, device.gpu)
  const { maxTokens, gpuMemory } = options
  const wanted = packed ? { maxTokens } : { maxTokens, gpuMemory }
  const shape = { layers: graph.layers, maxPositions: graph.config.maxPositionEmbeddings }
  const plan = planMemory('info', shape, weights, { device, dtype, asked: wanted })
  const all = { graph, weights, dtype, plan }
  try {
    return { ...all, onHost: plan.fit(), advice: undefined }
  } catch (error) {
    if (!(error instanceof MoeError)) throw error
    return { ...all, onHost: 0, advice: error.message.split('; ').at(-1)! }
  }
}

/** Whether loadModel would find room on a device, and for how many tokens. */
interface Fit {
  device: string
  name: string
  fits: boolean
  freeBytes: number
  neededBytes: number
  /** Of the cache. */
  maxTokens: number
  /** What would fit, where it does not. */
  advice?: string
}

function fitOf(label: string, { info }: Device, all: ReturnType<typeof fitted>): Fit {
  const { weights, plan, onHost, advice } = all
  const { freeBytes, cacheBytes } = plan
  const { maxTokens } = plan.size
  const said = { device: label, name: info.name, freeBytes, maxTokens }
  const neededBytes = weights.bytes - onHost + cacheBytes
  return { ...said, fits: advice === undefined, neededBytes, ...(advice && { advice }) }
}

/** On everything that can be used here. */
async function fits(
  request: InfoRequest,
  asked: Device,
  own: ReturnType<typeof fitted>,
): Promise<Fit[]> {
  const found = (await devices()).filter(({ available }) => available)
  const names = found.map(({ type, index }) =>
    type === 'cpu' ? 'cpu' : (`cuda:${index}` as const),
  )
  return names.map((name) => {
    const device = openDevice(name)
    return fitOf(name, device, device.gpu === asked.gpu ? own : fitted(device, request))
  })
}

function fitText({ fits, freeBytes, neededBytes, maxTokens, advice }: Fit): string {
  const cache = `with a cache of ${maxTokens} tokens`
  if (!fits) return `no: ${size(neededBytes)} ${cache}, of ${size(freeBytes)}; ${advice}`
  return `yes: ${size(neededBytes)} ${cache}, ${size(freeBytes - neededBytes)} are left`
}

interface TokenizerFacts {
  file: string
  size: number
  bosId: number | undefined
  chatTemplate: boolean
}

function tokenizerFacts(
  { said }: InfoRequest,
  tokenizer: Tokenizer | undefined,
): TokenizerFacts | undefined {
  if (!tokenizer) return undefined
  const names = ['tokenizer.model', 'spiece.model', 'tokenizer.json']
  const { standard } = findTemplates(said.dir, readTokenFiles(said.dir).config)
  return {
    file: names.find((name) => said.files.includes(name))!,
    ...{ size: tokenizer.size, bosId: tokenizer.bosId },
    chatTemplate: standard !== undefined || said.config.model_type === 'yuan',
  }
}

function endText(ids: readonly number[], tokenizer: Tokenizer | undefined): string {
  if (ids.length === 0) return 'none: texts go on to the limit'
  const named = ids.map((id) => {
    const text = tokenizer?.decode([id], { special: true }) ?? ''
    return text.trim() === '' ? String(id) : `${id} (${text})`
  })
  return named.join(', ')
}

const contextText = (config: ModelConfig): string =>
  `${config.maxPositionEmbeddings} tokens` +
  (config.rope.kind === 'default' ? '' : `, positions scaled (${config.rope.kind})`)

/** A language model's facts. */
export async function decoderFacts(request: InfoRequest): Promise<Facts> {
  const { said, entries, options } = request
  const device = openDevice(options.device)
  const own = fitted(device, request)
  const { graph, weights, dtype } = own
  const room = await fits(request, device, own) // before the bytes are those of other positions
  weights.positions = options.maxTokens ?? 4096
  const { config } = graph
  const parameters = countParameters(graph.layers, weights)
  const experts: Record<string, number> = {}
  for (const kind of config.experts) experts[kind] = (experts[kind] ?? 0) + 1
  const types = elementTypes(entries)
  const memory = {
    weightBytes: weights.bytes,
    weights: weights.info,
    cacheBytesPerToken: blockBytes(graph.layers, dtype) / blockTokens,
    fileBytes: Object.values(types).reduce((sum, bytes) => sum + bytes, 0),
  }
  const opened = await openTokenizer(said.dir, config)
  const tokenizer = tokenizerFacts(request, opened)
  const ends = endIds(said, config, opened)
  const quantized = entries || !said.quantization ? '' : ' without their quantization'
  const lowRank = lowRankFacts(request, graph.layers, device)
  const kinds = Object.entries(experts).map(([kind, n]) => `${n} ${kind}`)
  return {
    json: {
      architecture: config.architecture,
      ...{ parameters, experts, topK: config.topK, ...lowRank.json, memory },
      ...{ tokenizer: tokenizer ?? null, endIds: ends },
      ...{ device: device.info, fits: room, config },
    },
    rows: [
      ['architecture', config.architecture],
      [
        'parameters',
        `${billions(parameters.total)}, ${billions(parameters.activePerToken)} active per token`,
      ],
      ...(entries ? [['elements', elementText(types)] as [string, string]] : []),
      [
        'layers',
        `${config.numLayers}, hidden ${config.hiddenSize}, vocabulary ${config.vocabSize}`,
      ],
      [
        'attention',
        `${config.numHeads} heads of ${config.headSize}, ${config.numKeyValueHeads} key/value heads`,
      ],
      ['experts', `${kinds.join(', ')}; top ${config.topK}, inner size ${config.expertSize}`],
      ...lowRank.rows,
      ['context', contextText(config)],
      [
        'tokenizer',
        tokenizer
          ? `${tokenizer.file}, ${tokenizer.size} tokens, ${tokenizer.chatTemplate ? 'a' : 'no'} chat template`
          : 'none: prompts are ids',
      ],
      ['text ends at', endText(ends, opened)],
      [
        'memory',
        `${size(memory.weightBytes)} weights${quantized}, ${size(memory.cacheBytesPerToken)} cache per token (${dtype})`,
      ],
      ...weights.info.map(({ part, format, bytes, memory }, i): [string, string] => [
        i === 0 ? 'weights' : '',
        `${part}, ${format}: ${size(bytes)}${device.gpu && memory === 'host' ? ' in host memory' : ''}`,
      ]),
      ['device', `${device.info.name} (${device.info.reason})`],
      ...room.map((fit): [string, string] => [`fits ${fit.device}`, fitText(fit)]),
    ],
  }
}
