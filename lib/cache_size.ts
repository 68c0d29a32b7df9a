import { availableMemory, type Device } from './device.ts'
import { blockBytes } from './engine/cache.ts'
import { MoeError } from './errors.ts'
import type { Architecture } from './models/architecture.ts'
import type { ActivationDType } from './native.ts'
import { blockTokens } from './ops/index.ts'
import type { WeightList } from './weights/weights.ts'

/** How large the cache is. */
export interface CacheSize {
  numBlocks: number
  maxTokens: number
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1)} GB`

const tooLarge = (message: string): MoeError => new MoeError('ERR_MOE_OUT_OF_MEMORY', message)

/**
 * Decides how large the cache is and where experts are, before weights take memory.
 *
 * @param asked tokens and bytes of a GPU; defaults as loadModel says
 * @throws {MoeError} ERR_MOE_OUT_OF_MEMORY
 */
export function fitMemory(
  where: string,
  { config, layers }: Pick<Architecture, 'config' | 'layers'>,
  weights: WeightList,
  {
    device: { gpu },
    dtype,
    asked: { maxTokens, gpuMemory },
  }: {
    device: Device
    dtype: ActivationDType
    asked: { maxTokens?: number | undefined; gpuMemory?: number | undefined }
  },
): CacheSize {
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
    const wanted = Math.max(config.maxPositionEmbeddings, 4096)
    return Math.max(blockTokens, Math.min(wanted, blocksIn(forCache) * blockTokens))
  }
  const numBlocks = Math.ceil((maxTokens ?? defaultTokens()) / blockTokens)
  const size = { numBlocks, maxTokens: numBlocks * blockTokens }
  weights.positions = size.maxTokens
  const needed = numBlocks * perBlock + weights.bytes - movable
  if (needed > limit) {
    const tokens = blocksIn(left) * blockTokens
    const fits =
      tokens > 0
        ? `maxTokens ${tokens} would fit`
        : `${gigabytes(0.9 * limit)} of weights would, which is a model of ` +
          `${(0.45e-9 * limit).toFixed(1)} billion parameters in bf16`
    throw tooLarge(
      `${where}: weights${split ? ' beside experts' : ''} and cache must fit ` +
        `${limit < free ? 'gpuMemory' : 'the free memory'} of ${gigabytes(limit)}, got ` +
        `${gigabytes(weightBytes)} of weights and ${gigabytes(numBlocks * perBlock)} of cache for ` +
        `${size.maxTokens} tokens; ${fits}` +
        (gpu && !split && weights.expertBytes > 0 ? '; gpuMemory leaves experts on the host' : ''),
    )
  }
  if (split) limitExperts(where, weights, limit - needed)
  return size
}

/** Leaves experts that do not fit `bytes` of the GPU in the host's memory, where that has room. */
export function limitExperts(where: string, weights: WeightList, bytes: number): void {
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
}
