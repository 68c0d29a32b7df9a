import { badOption } from '../errors.ts'
import type { WeightFormat } from '../native.ts'
import { flagOption, nameOption } from '../options.ts'
import { type FormatRule, fewerBits, formatRule, type Part, quantized } from '../weights/formats.ts'

/** How far each part of a model is quantised. */
export interface Recipe {
  /** `int4`: experts in 4 bits, other matrices in 8; `int8`: all of them in 8; of packed files, also plain ones. */
  format: 'int8' | 'int4' | 'bf16' | 'auto'
  /** Values of a row that share a scale of int4. */
  group: 32 | 128
  /** `bf16`: as the file has it. */
  attention: 'int8' | 'int4' | 'bf16'
  head: 'int8' | 'int4' | 'bf16'
  /** Matrices as they lie in memory. */
  packed: boolean
}

/** What a caller asks for; the format has no default. */
export type RecipeOptions = { [Key in keyof Recipe]?: Recipe[Key] | undefined }

const packedFormats = ['int8', 'int4', 'bf16', 'auto'] as const

export function readRecipe(where: string, options: RecipeOptions): Recipe {
  const { format, group = 32, attention = 'int8', head = 'int8', packed } = options
  if (group !== 32 && group !== 128) return badOption(where, 'group', '32 or 128', group)
  const inPanels = flagOption(where, 'packed', packed)
  return {
    packed: inPanels,
    format: nameOption(where, 'format', format, inPanels ? packedFormats : ['int8', 'int4']),
    group,
    attention: nameOption(where, 'attention', attention, ['int8', 'int4', 'bf16']),
    head: nameOption(where, 'head', head, ['int8', 'int4', 'bf16']),
  }
}

/** The format of a matrix of that width: groups of 128 only where they divide it. */
export function recipeRule({ format, group, attention, head }: Recipe): FormatRule {
  if (format === 'bf16' || format === 'auto') return formatRule(format)
  const int4 = (width: number): WeightFormat =>
    group === 128 && width % 128 === 0 ? 'int4g128' : 'int4g32'
  const kinds: Partial<Record<Part, string>> = { ...quantized[format], attention, head }
  return ({ part, stored, K }) => {
    const kind = kinds[part]
    if (kind === undefined || kind === 'bf16') return stored
    return fewerBits(stored, kind.startsWith('int4') ? int4(K) : 'int8')
  }
}
