import { MoeError, shown } from '../errors.ts'
import { type DType, native, type Tensor } from '../native.ts'
import type { Json } from './json.ts'
import type { Entry } from './safetensors.ts'

/** What a GPTQ checkpoint says about itself, as AutoGPTQ writes it. */
export interface GptqConfig {
  bits: 4 | 8
}

const parts = ['qweight', 'qzeros', 'scales', 'g_idx'] as const

/** Validates `quantize_config.json` or `quantization_config`; undefined when the checkpoint is not quantised. */
export function parseGptq(label: string, quantization: Json | undefined): GptqConfig | undefined {
  if (!quantization) return undefined
  const refuse = (key: string, expected: string): never => {
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: quantization ${key} must be ${expected}, got ${shown(quantization[key])}`,
    )
  }
  const { quant_method: method = 'gptq', checkpoint_format: format = 'gptq', bits } = quantization
  if (method !== 'gptq') refuse('quant_method', '"gptq"')
  if (format !== 'gptq') refuse('checkpoint_format', '"gptq"')
  if (bits !== 4 && bits !== 8) return refuse('bits', '4 or 8')
  return { bits }
}

/** Name of the quantised layer that `name` (ending in .weight) is, if it is one. */
export function quantizedLayer(name: string, entries: Map<string, Entry>): string | undefined {
  const layer = name.replace(/\.weight$/, '')
  return entries.has(`${layer}.qweight`) ? layer : undefined
}

/** The names a quantised layer stores instead of its weight. */
export const quantizedNames = (layer: string): string[] => parts.map((part) => `${layer}.${part}`)

/**
 * The weight [out, in] of a quantised layer, unpacked: the exact values in f32, rounded in bf16.
 * (`AutoGPTQ`, format `gptq`: zeros are stored minus one, inputs and outputs packed lowest bits first.)
 */
export async function dequantize(
  tensorOf: (name: string, shape: number[]) => Tensor,
  layer: string,
  [numOut, numIn]: [number, number],
  { bits }: GptqConfig,
  entries: Map<string, Entry>,
  dtype: DType,
): Promise<Tensor> {
  const groups = entries.get(`${layer}.scales`)?.shape[0] ?? 1
  const perWord = 32 / bits
  const out = native().tensor([numOut, numIn], dtype)
  await native().dequantizeGptq(
    tensorOf(`${layer}.qweight`, [numIn / perWord, numOut]),
    tensorOf(`${layer}.qzeros`, [groups, numOut / perWord]),
    tensorOf(`${layer}.scales`, [groups, numOut]),
    tensorOf(`${layer}.g_idx`, [numIn]),
    bits,
    out,
  )
  return out
}
