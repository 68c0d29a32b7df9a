import { availableMemory, type Device, devices, openDevice } from '../device.ts'
import { buildVision } from '../load.ts'
import type { ActivationDType } from '../native.ts'
import { countParameters } from '../parameters.ts'
import type { VisionConfig, VisionRouter } from '../vision/config.ts'
import { readWeights, weightsNames } from '../weights/formats.ts'
import { billions, elementText, elementTypes, type Facts, type InfoRequest } from './facts.ts'
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

const freeBytes = ({ gpu }: Device): number => gpu?.freeMemory() ?? availableMemory()

/** An image classifier's facts. */
export async function visionFacts(request: InfoRequest): Promise<Facts> {
  const { said, entries, options } = request
  const device = openDevice(options.device)
  const { dtype = 'auto', weights: asked = 'auto' } = options
  const activations: ActivationDType = dtype === 'auto' ? (device.gpu ? 'bf16' : 'f32') : dtype
  const format = readWeights('info', asked, weightsNames)
  const { graph, weights } = buildVision(said, entries, activations, format)
  const { config } = graph
  const parameters = countParameters(graph.layers, weights)
  const types = elementTypes(entries)
  const fileBytes = Object.values(types).reduce((sum, bytes) => sum + bytes, 0)
  const found = (await devices()).filter(({ available }) => available)
  const fits = found.map(({ type, index, name }) => {
    const free = freeBytes(openDevice(type === 'cpu' ? 'cpu' : `cuda:${index!}`))
    return {
      device: type === 'cpu' ? 'cpu' : `cuda:${index}`,
      ...{ name, fits: weights.bytes <= free, freeBytes: free, neededBytes: weights.bytes },
    }
  })
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
      ...fits.map((fit): [string, string] => [
        `fits ${fit.device}`,
        fit.fits
          ? `yes: ${size(fit.neededBytes)} of ${size(fit.freeBytes)}`
          : `no: ${size(fit.neededBytes)} of ${size(fit.freeBytes)}`,
      ]),
      ['runs by', 'loadModel and classify; the commands beside info are for language models'],
    ],
  }
}
