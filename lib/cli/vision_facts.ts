import { activationDType, openDevice } from '../device.ts'
import { buildVision, buildVisionWithoutWeights } from '../load_vision.ts'
import { countParameters } from '../parameters.ts'
import type { VisionConfig, VisionRouter } from '../vision/config.ts'
import { readWeights, weightsNames } from '../weights/formats.ts'
import {
  billions,
  elementText,
  elementTypes,
  type Facts,
  fitsHere,
  type InfoRequest,
} from './facts.ts'
import { size } from './progress.ts'

function routerText(router: VisionRouter, tokens: number): string {
  if (router.kind === 'soft') return `${router.slots} slots an expert mix all tokens (Soft MoE)`
  if (router.kind === 'experts') return 'experts choose tokens'
  return `each of ${tokens} tokens chooses ${router.topK}`
}

function expertsText({ moe, numLayers, mlpSize, tokens }: VisionConfig): string {
  if (!moe) return 'none'
  const { numExperts, layers, router } = moe
  return (
    `${numExperts} of inner size ${mlpSize} in ${layers.length} of ${numLayers} layers; ` +
    routerText(router, tokens)
  )
}

/** An image classifier's facts. */
export async function visionFacts(request: InfoRequest): Promise<Facts> {
  const { said, entries, options } = request
  const device = openDevice(options.device)
  const format = readWeights('info', options.weights ?? 'auto', weightsNames)
  const activations = activationDType(device, options.dtype)
  const { graph, weights } = entries
    ? buildVision({ ...said, entries }, activations, format)
    : buildVisionWithoutWeights(said.config)
  const { config } = graph
  const parameters = countParameters(graph.layers, weights)
  const types = elementTypes(entries)
  const fileBytes = Object.values(types).reduce((sum, bytes) => sum + bytes, 0)
  const { fits, rows: fitRows } = await fitsHere(weights.bytes)
  const { imageWidth, imageHeight, channels, patchWidth, patchHeight } = config
  return {
    json: {
      architecture: config.architecture,
      parameters,
      memory: { weightBytes: weights.bytes, weights: weights.info, fileBytes },
      ...{ device: device.info, fits, config },
    },
    rows: [
      ['architecture', `${config.architecture}, an image classifier`],
      [
        'parameters',
        `${billions(parameters.total)}, ${billions(parameters.activePerToken)} active per token`,
      ],
      ...(entries ? [['elements', elementText(types)] as [string, string]] : []),
      [
        'images',
        `${imageWidth} x ${imageHeight}, ${channels} channels, patches of ${patchWidth} x ${patchHeight}: ${config.tokens} tokens`,
      ],
      [
        'classes',
        config.numClasses === 0 ? 'none: embed gives vectors' : String(config.numClasses),
      ],
      [
        'layers',
        `${config.numLayers}, hidden ${config.hiddenSize}, ${config.numHeads} heads of ${config.headSize}`,
      ],
      ['experts', expertsText(config)],
      ['memory', `${size(weights.bytes)} weights (${activations})`],
      ['device', `${device.info.name} (${device.info.reason})`],
      ...fitRows,
      ['runs by', 'loadModel and classify; the commands beside info are for language models'],
    ],
  }
}
