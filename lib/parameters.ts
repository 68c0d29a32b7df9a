import type { LayerInfo } from './layers/step.ts'
import type { WeightList } from './weights/weights.ts'

/** Numbers of weights. */
export interface Parameters {
  total: number
  /** Used for one token, when it chooses as many FFN experts as it can; embedding rows not counted. */
  activePerToken: number
}

/** Parameters by what the weights were asked for as, and by each layer's experts. */
export function countParameters(
  layers: readonly LayerInfo[],
  { parameters: p }: Pick<WeightList, 'parameters'>,
): Parameters {
  const used = layers.map(({ experts }) => {
    if (!experts) return 0
    const ffn = experts.kinds.filter((kind) => kind === 'ffn').length
    return ffn === 0 ? 0 : (experts.parameters * Math.min(experts.topK, ffn)) / ffn
  })
  return {
    total: p.dense + p.expert + p.embedding,
    activePerToken: p.dense + Math.round(used.reduce((n, layer) => n + layer, 0)),
  }
}
