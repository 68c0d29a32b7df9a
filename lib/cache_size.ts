import { availableMemory, type Device } from './device.ts'
import { blockBytes } from './engine/cache.ts'
import { MoeError } from './errors.ts'
import type { LayerInfo } from './layers/step.ts'
import type { ActivationDType } from './native.ts'
import { blockTokens } from './ops/index.ts'
import type { WeightList } from './weights/weights.ts'

/** How large the cache is. */
export interface CacheSize {
  numBlocks: number
  maxTokens: number
}

/** The same before anything takes memory. */
interface MemoryPlan {
  size: CacheSize
  cacheBytes: number
  /** What can be allocated. */
  freeBytes: number
  /**
   * Leaves experts on the host that `gpuMemory` has no room for.
   *
   * @returns their bytes
   * @throws {MoeError} ERR_MOE_OUT_OF_MEMORY when weights and cache do not fit
   */
  fit(): number
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`

const tooLarge = (message: string): MoeError => new MoeError('ERR_MOE_OUT_OF_MEMORY', message)

/** @param asked tokens, and bytes of a GPU; defaults as loadModel says */
export function planMemory(
  where: string,
  { layers, maxPositions }: { layers: readonly LayerInfo[]; maxPositions: number },
  weights: WeightList,
  {
    device: { gpu },
    dtype,
    asked: { maxTokens: askedTokens, gpuMemory },
  }: {
    device: Device
    dtype: ActivationDType
    asked: { maxTokens?: number | undefined; gpuMemory?: number | undefined }
  },
): MemoryPlan {
  const free = gpu ? gpu.freeMemory() : availableMemory()
  const split = gpu !== undefined && gpuMemory !== undefined
  const limit = split ? Math.min(gpuMemory, free) : free
  const movable = split ? weights.expertBytes : 0
  const perBlock = blockBytes(layers, dtype)
  const blocksIn = (bytes: number): number => Math.floor(bytes / Math.max(1, perBlock))
  const weightBytes = weights.bytes - movable
  const left = limit - weightBytes
  const defaultTokens = (): number => {
    const forCache = split ? Math.min(limit / 4, left) : gpu ? 0.9 * left : free / 4
    const wanted = Math.max(maxPositions, 4096)
    return Math.max(blockTokens, Math.min(wanted, blocksIn(forCache) * blockTokens))
  }
  const numBlocks = Math.ceil((askedTokens ?? defaultTokens()) / blockTokens)
  const cacheBytes = numBlocks * perBlock
  const maxTokens = numBlocks * blockTokens
  return {
    size: { numBlocks, maxTokens },
    ...{ cacheBytes, freeBytes: free },
    fit() {
      weights.positions = maxTokens
      const needed = cacheBytes + weights.bytes - movable
      if (needed <= limit) return split ? limitExperts(where, weights, limit - needed) : 0
      const tokens = blocksIn(left) * blockTokens
      const fits =
        tokens > 0
          ? `maxTokens ${tokens} would fit`
          : `${gigabytes(0.9 * limit)} of weights would, which is a model of ` +
            `${(0.45e-9 * limit).toFixed(1)} billion parameters in bf16`
      const host = gpu && !split && weights.expertBytes > 0
      throw tooLarge(
        `${where}: weights${split ? ' beside experts' : ''} and cache must fit ` +
          `${limit < free ? 'gpuMemory' : 'the free memory'} of ${gigabytes(limit)}, got ` +
          `${gigabytes(weightBytes)} of weights and ${gigabytes(cacheBytes)} of cache for ` +
          `${maxTokens} tokens; ${fits}${host ? ', and gpuMemory leaves experts on the host' : ''}`,
      )
    },
  }
}

/**
 * Decides how large the cache is and where experts are, before weights take memory.
 *
 * @throws {MoeError} ERR_MOE_OUT_OF_MEMORY
 */
export function fitMemory(...of: Parameters<typeof planMemory>): CacheSize {
  const plan = planMemory(...of)
  plan.fit()
  return plan.size
}

/**
 * Leaves experts that do not fit `bytes` of the GPU in the host's memory, where that has room.
 *
 * @returns their bytes
 */
export function limitExperts(where: string, weights: WeightList, bytes: number): number {
  if (bytes < 0)
    throw tooLarge(
      `${where}: weights beside experts must fit gpuMemory, got ${gigabytes(-bytes)} too much`,
    )
  const onHost = weights.limitExperts(bytes)
  const free = availableMemory()
  if (onHost > free)
    throw tooLarge(
      `${where}: experts beside those in gpuMemory must fit the host's free memory of ` +
        `${gigabytes(free)}, got ${gigabytes(onHost)}`,
    )
  return onHost
}
