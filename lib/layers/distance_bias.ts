import type { Tensor } from '../native.ts'
import type { Weights } from '../weights/weights.ts'

export interface DistanceBuckets {
  /** Of all distances; those of both directions share them. */
  buckets: number
  /** Distances from here on are one bucket. */
  maxDistance: number
  bidirectional: boolean
}

/**
 * The bucket of a key's distance from its query: near ones have their own, far ones share them by the logarithm, which
 * the published code takes in f32 (arXiv:1910.10683, section 2.1).
 *
 * @param relative position of the key less that of the query
 */
export function bucketOf(
  relative: number,
  { buckets, maxDistance, bidirectional }: DistanceBuckets,
): number {
  const own = bidirectional ? Math.floor(buckets / 2) : buckets
  const first = bidirectional && relative > 0 ? own : 0
  const distance = bidirectional ? Math.abs(relative) : Math.max(-relative, 0)
  const exact = Math.floor(own / 2)
  if (distance < exact) return first + distance
  const f = Math.fround
  const share = f(f(Math.log(f(distance / exact))) / f(Math.log(maxDistance / exact)))
  return first + Math.min(exact + Math.floor(f(share * (own - exact))), own - 1)
}

/**
 * What is added to scores by the distance of their keys, as `attention` takes it: [heads, 2 * maxDistance + 1].
 *
 * @param name a table [buckets, heads]
 */
export function distanceBias(
  weights: Weights,
  name: string,
  heads: number,
  of: DistanceBuckets,
): Tensor {
  const { buckets, maxDistance } = of
  const order = Array.from({ length: 2 * maxDistance + 1 }, (_, i) => bucketOf(i - maxDistance, of))
  return weights.transposed(name, [buckets, heads], order)
}
