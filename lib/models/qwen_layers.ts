import type { ConfigReader } from './config.ts'

/** Which layers of Qwen2-MoE and Qwen3-MoE have no experts. */
export interface SparseLayers {
  /** Inner size of the dense layers. */
  denseSize: number
  /** Their indices. */
  denseLayers: number[]
}

export const sparseKeys = ['intermediate_size', 'decoder_sparse_step', 'mlp_only_layers'] as const

/** Sparse is every `decoder_sparse_step`-th layer, counted from one, that `mlp_only_layers` does not list. */
export function readDenseLayers(
  c: ConfigReader<(typeof sparseKeys)[number]>,
  numLayers: number,
  size: number,
): SparseLayers {
  const step = c.count('decoder_sparse_step', 1)
  const listed = c.get('mlp_only_layers') ?? []
  const isLayer = (l: unknown) =>
    Number.isInteger(l) && (l as number) >= 0 && (l as number) < numLayers
  if (!Array.isArray(listed) || !listed.every(isLayer))
    c.invalid('mlp_only_layers', `a list of layers from 0 to ${numLayers - 1}`)
  const layers = Array.from({ length: numLayers }, (_, l) => l)
  return {
    denseSize: c.int('intermediate_size', size),
    denseLayers: layers.filter((l) => (listed as number[]).includes(l) || (l + 1) % step !== 0),
  }
}
