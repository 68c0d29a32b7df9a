import type { IntegerMatrix } from '../native.ts'
import { moduleOf } from './encoding.ts'
import { absent, type IntegerConfig, integerEncoding } from './integers.ts'
import type { Json } from './json.ts'
import type { Refuse } from './quantization.ts'
import { sourceShape } from './weights.ts'

function groupSize(value: unknown, refuse: Refuse): number {
  if (value === -1) return 0
  if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number
  return refuse('group_size', '-1 or a size')
}

/** AutoGPTQ's, in either of its formats. */
export function parseGptq(json: Json, refuse: Refuse): IntegerConfig {
  const { bits, group_size: group = -1 } = json
  const key = json.checkpoint_format === undefined ? 'format' : 'checkpoint_format'
  const format = json[key] ?? 'gptq'
  if (format !== 'gptq' && format !== 'gptq_v2') refuse(key, '"gptq" or "gptq_v2"')
  if (bits !== 4 && bits !== 8) return refuse('bits', '4 or 8')
  return {
    ...{ method: 'gptq', bits, group: groupSize(group, refuse) },
    ...{ symmetric: json.sym === true, ordered: json.desc_act !== true },
    zeroShift: format === 'gptq',
  }
}

/** AutoAWQ's, of the version `gemm`. */
export function parseAwq(json: Json, refuse: Refuse): IntegerConfig {
  const { version = 'gemm', bits = 4, group_size: group = 128 } = json
  if (String(version).toLowerCase() !== 'gemm') refuse('version', '"gemm"')
  if (bits !== 4) return refuse('bits', '4')
  const promises = { symmetric: false, ordered: true, zeroShift: false }
  return { method: 'awq', bits, group: groupSize(group, refuse), ...promises }
}

/**
 * Integers packed along inputs (AutoGPTQ: zeros are stored minus one, in `gptq_v2` as they are; `g_idx` is the group of
 * each input) or along outputs in an order of their own (AutoAWQ): `qweight`, `qzeros`, `scales`, `g_idx`.
 */
export const gptq = integerEncoding(
  (name, entries) => {
    const layer = moduleOf(name)
    if (!entries.has(`${layer}.qweight`)) return undefined
    const parts = ['qweight', 'qzeros', 'scales'].map((part) => `${layer}.${part}`)
    return entries.has(`${layer}.g_idx`) ? [...parts, `${layer}.g_idx`] : parts
  },
  (rows, { dir, entries, quantization, open }) => {
    const name = moduleOf(rows.name)
    const config = quantization.integers ?? absent(dir, `${name}.qweight`, 'quantize_config.json')
    const { bits, group, zeroShift, symmetric, ordered } = config
    const shape = sourceShape(rows)
    const [N, K] = shape
    const perWord = 32 / bits
    const awq = config.method === 'awq'
    const groups = group === 0 ? 1 : Math.ceil(K / group)
    // Zero points of a symmetric file are in the middle: GPTQModel stores them as they are in files that say "gptq", too.
    const storesMiddle = () => {
      const zeros = entries.get(`${name}.qzeros`)
      return symmetric && zeros?.file.read(zeros.offset, 1)[0] === (bits === 4 ? 0x88 : 0x80)
    }
    const matrix: IntegerMatrix = {
      layout: awq ? 'awq' : 'gptq',
      ...{ bits, group, shape, zeroShift: zeroShift && !storesMiddle(), name },
      values: open(`${name}.qweight`, awq ? [K, N / perWord] : [K / perWord, N]),
      zeros: open(`${name}.qzeros`, [groups, N / perWord]),
      scales: open(`${name}.scales`, [groups, N]),
      order: entries.has(`${name}.g_idx`) ? open(`${name}.g_idx`, [K]) : undefined,
    }
    return { matrix, symmetric, ordered }
  },
)
