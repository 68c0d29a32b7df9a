import type { CacheSpec, LayerCache, LayerInfo } from '../layers/step.ts'
import type { ActivationDType, Tensor } from '../native.ts'
import { blockTokens } from '../ops/index.ts'

/** What one block of a cache tensor is. */
function blockShape(spec: CacheSpec): number[] {
  if (spec.kind === 'state') return [spec.size]
  if (spec.kind === 'rows') return [blockTokens, spec.size]
  const { heads, size } = spec
  return spec.kind === 'keys' ? [heads, size, blockTokens] : [heads, blockTokens, size]
}

const specsOf = (layers: readonly LayerInfo[]): CacheSpec[] =>
  layers.flatMap(({ caches }) => Object.values(caches))

/** Bytes that one block takes over all layers. */
export function blockBytes(layers: readonly LayerInfo[], dtype: ActivationDType): number {
  const sizes = specsOf(layers).map((spec) => blockShape(spec).reduce((n, dim) => n * dim, 1))
  return sizes.reduce((n, size) => n + size, 0) * (dtype === 'bf16' ? 2 : 4)
}

/** Whether a layer remembers a block's last token only, so that the cache cannot be cut inside a block. */
export const keepsState = (layers: readonly LayerInfo[]): boolean =>
  specsOf(layers).some(({ kind }) => kind === 'state')

/** The caches of each layer, every one of them [blocks, ...]. */
export function allocateCaches(
  layers: readonly LayerInfo[],
  numBlocks: number,
  allocate: (shape: number[]) => Tensor,
): LayerCache[] {
  return layers.map(({ caches }) => {
    const made = Object.entries(caches).map(([name, spec]) => {
      return [name, allocate([numBlocks, ...blockShape(spec)])] as const
    })
    return Object.fromEntries(made)
  })
}
