import { planMemory } from '../cache_size.ts'
import { activationDType, openDevice } from '../device.ts'
import { blockBytes } from '../engine/cache.ts'
import { buildSeq2Seq, layersOf, seq2seqConfig } from '../load_seq2seq.ts'
import type { ActivationDType } from '../native.ts'
import { blockTokens } from '../ops/index.ts'
import { countParameters } from '../parameters.ts'
import type { Seq2SeqConfig } from '../seq2seq/config.ts'
import { EncoderDecoder } from '../seq2seq/encoder_decoder.ts'
import { absentWeights } from '../weights/absent_weights.ts'
import { readWeights, weightsNames } from '../weights/formats.ts'
import {
  billions,
  elementText,
  elementTypes,
  type Facts,
  fitsHere,
  type InfoRequest,
  lowRankFacts,
} from './facts.ts'
import { size } from './progress.ts'

function expertsText({ moe, encoder, decoder, innerSize }: Seq2SeqConfig): string {
  if (!moe) return `none; inner size ${innerSize}`
  return (
    `${moe.numExperts} of inner size ${innerSize} in ${encoder.sparse.length} encoder and ` +
    `${decoder.sparse.length} decoder layers; top 1, capacity ${moe.capacity}`
  )
}

function built({ said, entries, options }: InfoRequest, dtype: ActivationDType) {
  const format = readWeights('info', options.weights ?? 'auto', weightsNames)
  if (entries) return buildSeq2Seq({ ...said, entries }, dtype, format)
  const weights = absentWeights(said.config)
  const graph = new EncoderDecoder(seq2seqConfig(said), weights)
  weights.release()
  return { graph, weights }
}

/** An encoder-decoder's facts. */
export async function seq2seqFacts(request: InfoRequest): Promise<Facts> {
  const { entries, options } = request
  const device = openDevice(options.device)
  const activations = activationDType(device, options.dtype)
  const { graph, weights } = built(request, activations)
  const { config, decoder } = graph
  const parameters = countParameters(layersOf(graph), weights)
  const cacheBytesPerToken = blockBytes(decoder, activations) / blockTokens
  const shape = { layers: decoder, maxPositions: 0 }
  const of = { device, dtype: activations, asked: { maxTokens: options.maxTokens } }
  const { maxTokens } = planMemory('info', shape, weights, of).size
  const types = elementTypes(entries)
  const fileBytes = Object.values(types).reduce((sum, bytes) => sum + bytes, 0)
  const memory = {
    weightBytes: weights.bytes,
    weights: weights.info,
    cacheBytesPerToken,
    fileBytes,
  }
  const { fits, rows } = await fitsHere(weights.bytes + maxTokens * cacheBytesPerToken)
  const lowRank = lowRankFacts(request, layersOf(graph), device)
  return {
    json: {
      ...{ architecture: config.architecture, parameters, ...lowRank.json, memory, maxTokens },
      ...{ device: device.info, fits, config },
    },
    rows: [
      ['architecture', `${config.architecture}, an encoder-decoder`],
      [
        'parameters',
        `${billions(parameters.total)}, ${billions(parameters.activePerToken)} active per token`,
      ],
      ...(entries ? [['elements', elementText(types)] as [string, string]] : []),
      [
        'layers',
        `${config.encoder.numLayers} encoder and ${config.decoder.numLayers} decoder, hidden ${config.hiddenSize}, vocabulary ${config.vocabSize}`,
      ],
      ['attention', `${config.numHeads} heads of ${config.headSize}, biases by distance`],
      ['experts', expertsText(config)],
      ...lowRank.rows,
      [
        'memory',
        `${size(weights.bytes)} weights, ${size(cacheBytesPerToken)} cache per token (${activations})`,
      ],
      ['device', `${device.info.name} (${device.info.reason})`],
      ...rows,
      [
        'runs by',
        'loadModel, encode and generate; the commands beside info are for language models',
      ],
    ],
  }
}
