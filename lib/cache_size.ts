import { availableMemory, type Device } from './device.ts'
import { blockBytes } from './engine/cache.ts'
import { MoeError } from './errors.ts'
import type { LayerInfo } from './layers/step.ts'
import type { ActivationDType } from './native.ts'
import { blockTokens } from './ops/index.ts'

/** How large the cache is, and whether everything fits the memory. */
export interface CacheSize {
  numBlocks: number
  maxTokens: number
  cacheBytes: number
  /** What can be allocated. */
  freeBytes: number
  /** Throws ERR_MOE_OUT_OF_MEMORY when weights of so many bytes do not fit beside the cache. */
  checkMemory(weightBytes: number): void
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`

/** @param asked tokens; default as `maxTokens` of loadModel says */
export function resolveCacheSize(
  where: string,
  { layers, maxPositions }: { layers: readonly LayerInfo[]; maxPositions: number },
  weightBytes: number,
  { device, dtype, asked }: { device: Device; dtype: ActivationDType; asked: number | undefined },
): CacheSize {
  const free = device.gpu ? device.gpu.freeMemory() : availableMemory()
  const perBlock = blockBytes(layers, dtype)
  const defaultTokens = (): number => {
    const forCache = device.gpu ? 0.9 * (free - weightBytes) : free / 4
    const affordable = Math.floor(forCache / Math.max(1, perBlock)) * blockTokens
    const wanted = Math.max(maxPositions, 4096)
    return Math.max(blockTokens, Math.min(wanted, affordable))
  }
  const numBlocks = Math.ceil((asked ?? defaultTokens()) / blockTokens)
  return {
    numBlocks,
    maxTokens: numBlocks * blockTokens,
    cacheBytes: numBlocks * perBlock,
    freeBytes: free,
    checkMemory(bytes) {
      const needed = numBlocks * perBlock + bytes
      if (needed <= free) return
      const tokens = Math.floor((free - weightBytes) / Math.max(1, perBlock)) * blockTokens
      const fits =
        tokens > 0
          ? `maxTokens ${tokens} would fit`
          : `${gigabytes(0.9 * free)} of weights would, which is a model of ` +
            `${(0.45e-9 * free).toFixed(1)} billion parameters in bf16`
      throw new MoeError(
        'ERR_MOE_OUT_OF_MEMORY',
        `${where}: weights and cache must fit the free memory of ${gigabytes(free)}, got ` +
          `${gigabytes(weightBytes)} of weights and ${gigabytes(numBlocks * perBlock)} of cache for ` +
          `${numBlocks * blockTokens} tokens; ${fits}`,
      )
    },
  }
}
