import { describePhatgoose, Phatgoose } from './adapters/phatgoose.ts'
import { readPhatgooseConfig } from './adapters/phatgoose_config.ts'
import { fitMemory } from './cache_size.ts'
import { activationDType, type Device } from './device.ts'
import { modulesOf } from './layers/projection.ts'
import type { LayerInfo } from './layers/step.ts'
import type { LoadRequest } from './load_options.ts'
import { restOf } from './load_rest.ts'
import type { ActivationDType, Gpu } from './native.ts'
import { countParameters } from './parameters.ts'
import { readSeq2SeqConfig, type Seq2SeqConfig } from './seq2seq/config.ts'
import { EncoderDecoder } from './seq2seq/encoder_decoder.ts'
import { Seq2SeqModel, type Seq2SeqParts } from './seq2seq/seq2seq_model.ts'
import type { Checkpoint, CheckpointConfig } from './weights/checkpoint.ts'
import { CheckpointWeights } from './weights/checkpoint_weights.ts'
import type { WeightsChoice } from './weights/formats.ts'
import type { Json } from './weights/json.ts'
import type { RandomWeights } from './weights/random_weights.ts'
import type { WeightList } from './weights/weights.ts'

interface Built<W extends WeightList> {
  graph: EncoderDecoder
  weights: W
}

/** Its configuration; generation_config.json may say what the decoder starts with. */
export function seq2seqConfig({
  config,
  generationConfig,
}: Pick<CheckpointConfig, 'config' | 'generationConfig'>): Seq2SeqConfig {
  const start = generationConfig?.decoder_start_token_id
  return readSeq2SeqConfig(
    start === undefined ? config : { decoder_start_token_id: start, ...config },
  )
}

/** A checkpoint's graph with handles for its weights, everything checked and nothing read. */
export function buildSeq2Seq(
  checkpoint: Checkpoint,
  dtype: ActivationDType,
  format: WeightsChoice,
  gpu?: Gpu,
): Built<CheckpointWeights> {
  const weights = new CheckpointWeights(checkpoint, dtype, gpu, format)
  const adapted = readPhatgooseConfig(checkpoint.dir) !== undefined
  const graph = new EncoderDecoder(seq2seqConfig(checkpoint), weights, adapted)
  weights.checkNames()
  const experts = describePhatgoose(checkpoint.dir, modulesOf(layersOf(graph)), gpu)
  weights.beside(experts?.bytes ?? 0)
  return { graph, weights }
}

/** All layers, the encoder's first. */
export const layersOf = ({ encoder, decoder }: EncoderDecoder) => [...encoder, ...decoder]

type Rest = Pick<Seq2SeqParts, 'tokenizer' | 'stopIds' | 'checkpointDefaults'>

/** `fill` gives the built weights their numbers, and what is beside the modules of these layers. */
async function assembleSeq2Seq<W extends WeightList>(
  where: string,
  { device, dtype, request }: { device: Device; dtype: ActivationDType; request: LoadRequest },
  { graph, weights }: Built<W>,
  fill: (weights: W, layers: readonly LayerInfo[]) => Promise<Phatgoose | undefined>,
  rest: Rest,
): Promise<Seq2SeqModel> {
  const layers = layersOf(graph)
  const tensors = [...weights.tensors]
  try {
    const { threads, deterministic } = request
    const shape = { layers: graph.decoder, maxPositions: 0 }
    const { numBlocks } = fitMemory(where, shape, weights, { device, dtype, asked: request })
    const lowRank = await fill(weights, layers)
    tensors.push(...(lowRank?.tensors ?? []))
    return new Seq2SeqModel({
      ...{ graph, device, dtype, deterministic, numBlocks, lowRank, tensors, ...rest },
      threads: Math.min(threads ?? device.threads, device.threads),
      parameters: countParameters(layers, weights),
      weights: weights.info,
    })
  } catch (error) {
    for (const tensor of tensors) tensor.release()
    throw error
  }
}

/** An encoder-decoder's folder. */
export async function loadSeq2Seq(
  checkpoint: Checkpoint,
  device: Device,
  dtype: ActivationDType,
  request: LoadRequest,
): Promise<Seq2SeqModel> {
  return assembleSeq2Seq(
    'loadModel',
    { device, dtype, request },
    buildSeq2Seq(checkpoint, dtype, request.weights, device.gpu),
    async (weights, layers) => {
      await weights.load(request)
      return Phatgoose.open(checkpoint.dir, modulesOf(layers), device.gpu, request.signal)
    },
    await restOf(checkpoint, seq2seqConfig(checkpoint), request),
  )
}

/** One with random weights, of the contents of a config.json. */
export async function randomSeq2Seq(
  where: string,
  json: Json,
  device: Device,
  request: LoadRequest,
  weights: RandomWeights,
  fill: () => Promise<undefined>,
): Promise<Seq2SeqModel> {
  const dtype = activationDType(device, request.dtype)
  const config = readSeq2SeqConfig({ ...json })
  const built = { graph: new EncoderDecoder(config, weights), weights }
  const rest = { tokenizer: undefined, stopIds: config.eosIds, checkpointDefaults: {} }
  return assembleSeq2Seq(where, { device, dtype, request }, built, fill, rest)
}
