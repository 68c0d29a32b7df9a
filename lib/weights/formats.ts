import type { WeightFormat } from '../native.ts'

/**
 * What a matrix is for: decides how far it is quantised. `latent`: what queries and outputs of latent attention are
 * projected by, a head at a time.
 */
export type Part = 'experts' | 'attention' | 'dense' | 'head' | 'router' | 'convolution' | 'latent'

/** How a model's matrices are to be stored; `auto`: as the file has them. */
export type WeightsOption = 'auto' | 'f32' | 'bf16' | 'int8' | 'int4'

export const weightsOptions = ['auto', 'f32', 'bf16', 'int8', 'int4'] as const

/**
 * What each part becomes. int4 is for experts: there it costs least and saves most, while attention in int4 costs more
 * than all experts together. Routers, convolutions and latent projections stay as they are: routing decides, and they
 * are few bytes.
 */
const quantized: Record<'int8' | 'int4', Partial<Record<Part, WeightFormat>>> = {
  int8: { experts: 'int8', attention: 'int8', dense: 'int8', head: 'int8' },
  int4: { experts: 'int4g32', attention: 'int8', dense: 'int8', head: 'int8' },
}

/** Of a part that has integers at all. */
export const isQuantized = (part: Part): boolean => part in quantized.int8

const bitsOf = (format: WeightFormat): number => Number(/^int(\d+)/.exec(format)?.[1] ?? 16)

/** The format for a matrix that is `stored` so; fewer bits than asked for are never made more. */
export function chosenFormat(
  weights: WeightsOption,
  part: Part,
  stored: WeightFormat,
): WeightFormat {
  if (weights === 'auto' || part === 'router') return stored
  if (weights === 'f32' || weights === 'bf16') return weights
  const asked = quantized[weights][part]
  return asked && bitsOf(asked) < bitsOf(stored) ? asked : stored
}

/** Bytes of a model's weights by what they are for and how they are stored. */
export interface WeightsInfo {
  /** What they are for; `other`: norms, biases and tables. */
  part: Part | 'embedding' | 'other'
  /** How the values are stored, such as `bf16` or `int4g32`: int4 with a scale for each 32. */
  format: string
  /** In memory, or, of an embedding table on the CPU, in the mapped file. */
  bytes: number
}
