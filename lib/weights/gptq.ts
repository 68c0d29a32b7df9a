import { MoeError } from '../errors.ts'
import { native } from '../native.ts'
import type { Entries, MatrixEncoding } from './encoding.ts'
import type { Json } from './json.ts'
import type { Refuse } from './quantization.ts'
import { sourceShape } from './weights.ts'

/** What a GPTQ checkpoint says about itself, as AutoGPTQ writes it. */
export interface GptqConfig {
  bits: 4 | 8
}

export function parseGptq(json: Json, refuse: Refuse): GptqConfig {
  const { checkpoint_format: format = 'gptq', bits } = json
  if (format !== 'gptq') refuse('checkpoint_format', '"gptq"')
  if (bits !== 4 && bits !== 8) return refuse('bits', '4 or 8')
  return { bits }
}

/** Name of the quantised layer that `name` (ending in .weight) is, if it is one. */
function layerOf(name: string, entries: Entries): string | undefined {
  const layer = name.replace(/\.weight$/, '')
  return entries.has(`${layer}.qweight`) ? layer : undefined
}

/**
 * Integers with a scale and a zero for each group of inputs (`AutoGPTQ`, format `gptq`: zeros are stored minus one,
 * inputs and outputs packed lowest bits first): the exact values in f32, rounded in bf16.
 */
export const gptq: MatrixEncoding = {
  parts(name, entries) {
    const layer = layerOf(name, entries)
    if (!layer) return undefined
    return ['qweight', 'qzeros', 'scales', 'g_idx'].map((part) => `${layer}.${part}`)
  },
  format: (dtype) => dtype,
  open(rows, { dir, entries, quantization, dtype, open }) {
    const layer = layerOf(rows.name, entries)!
    if (!quantization.gptq)
      throw new MoeError(
        'ERR_MOE_CHECKPOINT',
        `${dir}: quantize_config.json must exist for ${layer}.qweight, got nothing there`,
      )
    const { bits } = quantization.gptq
    const [numOut, numIn] = sourceShape(rows)
    const groups = entries.get(`${layer}.scales`)?.shape[0] ?? 1
    const perWord = 32 / bits
    const qweight = open(`${layer}.qweight`, [numIn / perWord, numOut])
    const qzeros = open(`${layer}.qzeros`, [groups, numOut / perWord])
    const scales = open(`${layer}.scales`, [groups, numOut])
    const gIdx = open(`${layer}.g_idx`, [numIn])
    return async () => {
      const out = native().tensor([numOut, numIn], dtype)
      await native().unpackGptq(qweight, qzeros, scales, gIdx, bits, out)
      return out
    }
  },
}
