import type { FeedForward } from '../layers/decoder_layer.ts'
import { DenseLayer } from '../layers/dense.ts'
import type { Weights } from '../weights/weights.ts'
import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { routedLayer } from './decoder.ts'

/** What DeepSeek's layers are made of: experts beside shared ones, or a dense block. */
export interface DeepseekLayers {
  /** Inner size of the shared experts together; 0: none. */
  sharedExpertSize: number
  /** Inner size of the dense layers. */
  denseSize: number
}

export const deepseekLayerKeys = [
  'intermediate_size',
  'moe_intermediate_size',
  'n_routed_experts',
  'n_shared_experts',
  'num_experts_per_tok',
  'first_k_dense_replace',
] as const

export const deepseekIgnored = { 'training only': ['aux_loss_alpha', 'seq_aux', 'ep_size'] }

/** Shared experts are one block, as wide as all of them. */
export const readSharedSize = (
  c: ConfigReader<'n_shared_experts'>,
  expertSize: number,
  fallback: number,
): number => expertSize * c.int('n_shared_experts', fallback, { min: 0, max: limits.count })

/** Layers behind the last. */
export interface PredictionLayers {
  /** They predict further tokens, and are not run. */
  predictionLayers: number
}

export const readPredictions = (c: ConfigReader<'num_nextn_predict_layers'>): PredictionLayers => ({
  predictionLayers: c.int('num_nextn_predict_layers', 1, { min: 0, max: limits.count }),
})

export function ignorePredictions(c: ModelConfig & PredictionLayers, weights: Weights): void {
  for (let l = c.numLayers; l < c.numLayers + c.predictionLayers; l++)
    weights.ignore(new RegExp(`^model\\.layers\\.${l}\\.`))
}

/** @param choice how the router of a block of this prefix chooses */
export function deepseekFeedForward(
  weights: Weights,
  c: ModelConfig & DeepseekLayers,
  isDense: (layer: number) => boolean,
  choice: (mlp: string) => Parameters<typeof routedLayer>[3],
): (prefix: string, layer: number) => FeedForward {
  const dense = (prefix: string, size: number) =>
    new DenseLayer(weights, prefix, { hidden: c.hiddenSize, size })
  return (prefix, l) => {
    const mlp = `${prefix}.mlp`
    if (isDense(l)) return dense(mlp, c.denseSize)
    const size = c.sharedExpertSize
    const shared = size > 0 ? dense(`${mlp}.shared_experts`, size) : undefined
    return routedLayer(weights, mlp, c, choice(mlp), shared)
  }
}
