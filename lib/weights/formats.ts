import { badOption } from '../errors.ts'
import type { WeightFormat } from '../native.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, nameOption } from '../options.ts'

/**
 * What a matrix is for: decides how far it is quantised. `latent`: what queries and outputs of latent attention are
 * projected by, a head at a time.
 */
export type Part = 'experts' | 'attention' | 'dense' | 'head' | 'router' | 'convolution' | 'latent'

/** How a model's matrices are to be stored; `auto`: as the file has them. */
export type WeightsName = 'auto' | 'f32' | 'bf16' | 'int8' | 'int4' | 'fp8'

export const weightsNames = ['auto', 'f32', 'bf16', 'int8', 'int4', 'fp8'] as const

/** A name, or int4 with the inputs that share a scale: 32 unless said, or 128 where rows are whole groups of them. */
export type WeightsOption = WeightsName | { format: 'int4'; group?: 32 | 128 | undefined }

/** The option, read. */
export type WeightsChoice = WeightsName | 'int4g128'

const optionNames: OptionNames<Exclude<WeightsOption, string>> = { format: true, group: true }

/** @throws {MoeError} ERR_MOE_OPTION */
export function readWeights<Name extends WeightsName>(
  where: string,
  value: unknown,
  names: readonly Name[],
): Name | 'int4g128' {
  if (typeof value !== 'object' || value === null) return nameOption(where, 'weights', value, names)
  checkOptions(where, value as Exclude<WeightsOption, string>, optionNames)
  const { format, group = 32 } = value as { format: unknown; group?: unknown }
  if (format !== 'int4') badOption(where, 'weights.format', "'int4'", format)
  if (group !== 32 && group !== 128) badOption(where, 'weights.group', '32 or 128', group)
  return group === 128 ? 'int4g128' : ('int4' as Name)
}

type Parts = Partial<Record<Part, WeightFormat>>
const parts = (experts: WeightFormat, others: WeightFormat): Parts => ({
  ...{ experts, attention: others, dense: others, head: others },
})

/**
 * What each part becomes. int4 is for experts: there it costs least and saves most, while attention in int4 costs more
 * than all experts together. fp8 takes a scale for each output, the fewest bytes: smaller groups hardly lower its error.
 * Routers, convolutions and latent projections stay as they are: routing decides, and they are few bytes.
 */
export const quantized: Record<Exclude<WeightsChoice, 'auto' | 'f32' | 'bf16'>, Parts> = {
  int8: parts('int8', 'int8'),
  int4: parts('int4g32', 'int8'),
  int4g128: parts('int4g128', 'int8'),
  fp8: parts('fp8', 'fp8'),
}

/** Of a part that has codes or integers at all. */
export const isQuantized = (part: Part): boolean => part in quantized.int8

/** Of matrices that are packed as one. */
export function commonFormat(formats: WeightFormat[]): WeightFormat {
  const all = (kind: string) => formats.every((name) => name.startsWith(kind))
  if (new Set(formats).size <= 1) return formats[0] ?? 'f32'
  if (all('int')) return 'int8g128'
  if (all('fp8')) return 'fp8g128'
  return formats.includes('f32') ? 'f32' : 'bf16'
}

export const bitsOf = (format: WeightFormat): number =>
  Number(/^(?:int|mxfp|fp)(\d+)/.exec(format)?.[1] ?? 16)

/** Fewer bits than asked for are never made more, and of two formats with 8 only FP8 becomes the other. */
export function fewerBits(stored: WeightFormat, asked: WeightFormat): WeightFormat {
  const fewer = bitsOf(stored) - bitsOf(asked)
  const other = stored.startsWith('fp8') && !asked.startsWith('fp8')
  return fewer > 0 || (fewer === 0 && other) ? asked : stored
}

/** The format for a matrix with rows of K that is `stored` so. */
export function chosenFormat(
  weights: WeightsChoice,
  { part, stored, K }: { part: Part; stored: WeightFormat; K: number },
): WeightFormat {
  if (weights === 'auto' || part === 'router') return stored
  if (weights === 'f32' || weights === 'bf16') return weights
  const named = quantized[weights][part]
  const asked = named === 'int4g128' && K % 128 !== 0 ? 'int4g32' : named
  return asked ? fewerBits(stored, asked) : stored
}

/** What a matrix with rows of K is to be stored as, by what it is for and what its file has. */
export type FormatRule = (matrix: { part: Part; stored: WeightFormat; K: number }) => WeightFormat

export const formatRule =
  (weights: WeightsChoice): FormatRule =>
  (matrix) =>
    chosenFormat(weights, matrix)

/** Bytes of a model's weights by what they are for and how they are stored. */
export interface WeightsInfo {
  /** What they are for; `other`: norms, biases and tables. */
  part: Part | 'embedding' | 'other'
  /** How the values are stored, such as `bf16`, `mxfp4`, or `int4g32`: int4 with a scale for each 32. */
  format: string
  /** In memory, or, of an embedding table on the CPU, in the mapped file. */
  bytes: number
  /** Whose memory: of a model on a GPU, experts may be in the host's, as `gpuMemory` says. */
  memory: 'gpu' | 'host'
}
