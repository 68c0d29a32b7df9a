import { causal, slidingWindow, type VisibilityRules } from '../layers/visibility.ts'
import type { ConfigReader } from './config.ts'

const layerTypes = ['sliding_attention', 'full_attention'] as const
/** What a layer's attention sees: the last positions of a window, or all. */
export type LayerType = (typeof layerTypes)[number]

/** @param fallback of each layer, where the file says none */
export function readLayerTypes(
  c: ConfigReader<'layer_types'>,
  layers: number,
  fallback: (layer: number) => LayerType,
): LayerType[] {
  const listed = c.get('layer_types') ?? Array.from({ length: layers }, (_, l) => fallback(l))
  const isType = (type: unknown) => layerTypes.includes(type as LayerType)
  if (!Array.isArray(listed) || listed.length !== layers || !listed.every(isType))
    c.unsupported('layer_types', `a list of ${layers} times ${layerTypes.join(' or ')}`)
  return listed as LayerType[]
}

/** Rules by the types of layers. */
export const layerVisibility = (window: number | undefined): VisibilityRules => ({
  ...(window !== undefined && { sliding_attention: slidingWindow(window) }),
  full_attention: causal,
})
