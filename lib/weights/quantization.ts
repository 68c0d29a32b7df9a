import { MoeError, shown } from '../errors.ts'
import { parseCompressed } from './compressed_tensors.ts'
import { type Fp8Config, parseFp8 } from './fp8.ts'
import { parseAwq, parseGptq } from './gptq.ts'
import type { IntegerConfig } from './integers.ts'
import type { Json } from './json.ts'
import { panelsFormat } from './panels.ts'

/** What a checkpoint says about how its matrices are stored; nothing where it says nothing. */
export interface Quantization {
  integers?: IntegerConfig
  fp8?: Fp8Config
}

/** Fails on a key whose value is not understood. */
export type Refuse = (key: string, expected: string, advice?: string) => never

const methods: Record<string, (json: Json, refuse: Refuse) => Quantization> = {
  fp8: (json, refuse) => ({ fp8: parseFp8(json, refuse) }),
  gptq: (json, refuse) => ({ integers: parseGptq(json, refuse) }),
  awq: (json, refuse) => ({ integers: parseAwq(json, refuse) }),
  'compressed-tensors': parseCompressed,
  mxfp4: () => ({}), // its tensors say everything
  [panelsFormat]: () => ({}), // its files do
}

/**
 * Validates `quantize_config.json` of AutoGPTQ, which names no method, or `quantization_config`.
 *
 * @throws {MoeError} ERR_MOE_UNSUPPORTED for a method or setting that is not read
 */
export function parseQuantization(label: string, json: Json | undefined): Quantization {
  if (!json) return {}
  const refuse: Refuse = (key, expected, advice = '') => {
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `${label}: quantization ${key} must be ${expected}, got ${shown(json[key])}${advice}`,
    )
  }
  const { quant_method: method = 'gptq' } = json
  if (typeof method !== 'string' || !Object.hasOwn(methods, method))
    return refuse(
      'quant_method',
      '"awq", "compressed-tensors", "fp8", "gptq" or "mxfp4"',
      method === 'bitsandbytes'
        ? "; bitsandbytes is made for training: load the checkpoint that it was made of, with weights: 'int8' or 'int4'"
        : '',
    )
  return methods[method]!(json, refuse)
}
