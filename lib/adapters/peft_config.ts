import path from 'node:path'
import { MoeError } from '../errors.ts'
import { ConfigReader } from '../models/config.ts'
import { configKeys } from '../models/config_keys.ts'
import { readJson } from '../weights/json.ts'

/** LoraConfig of PEFT 0.18, and what older versions wrote. */
const loraKeys = configKeys({
  used: ['peft_type', 'r', 'lora_alpha', 'use_rslora', 'rank_pattern', 'alpha_pattern'],
  only: {
    use_dora: [false],
    fan_in_fan_out: [false],
    bias: ['none'],
    lora_bias: [false],
    modules_to_save: [[]],
    // Others change the base's weights, which the published ones are not.
    init_lora_weights: [true, false, 'gaussian', 'eva', 'orthogonal'],
    layer_replication: [[]],
    trainable_token_indices: [[]],
    target_parameters: [[]],
    use_qalora: [false],
    use_bdlora: [],
    alora_invocation_tokens: [],
    arrow_config: [],
    ensure_weight_tying: [false],
  },
  ignored: {
    'the tensors in the file say it': [
      ...['target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern'],
    ],
    'training only': [
      ...['lora_dropout', 'loftq_config', 'eva_config', 'corda_config', 'lora_ga_config'],
    ],
    'where the file is from, and how it is used': [
      ...['base_model_name_or_path', 'revision', 'task_type', 'inference_mode', 'auto_mapping'],
      ...['megatron_config', 'megatron_core', 'peft_version', 'qalora_group_size'],
      'runtime_config',
    ],
  },
})

/** What an adapter's configuration says of one module. */
export interface PeftConfig {
  /** Rank that the module's matrices must have. */
  rankOf(module: string): number
  /** Factor of B A x. */
  scalingOf(module: string): number
}

/** Reads a table of numbers by the ends of modules' names. */
function patternOf(
  file: string,
  key: string,
  given: Record<string, unknown> | undefined,
): (module: string) => number | undefined {
  const entries = Object.entries(given ?? {})
  for (const [end, value] of entries) {
    const bad = (
      code: 'ERR_MOE_CHECKPOINT' | 'ERR_MOE_UNSUPPORTED',
      what: string,
      got: unknown,
    ) => {
      throw new MoeError(code, `${file}: ${key} must be ${what}, got ${JSON.stringify(got)}`)
    }
    if (!/^\^?[\w.]+$/.test(end)) bad('ERR_MOE_UNSUPPORTED', 'by the ends of names', end)
    if (!(typeof value === 'number' && value > 0 && value <= 2 ** 20))
      bad('ERR_MOE_CHECKPOINT', 'of numbers above 0', value)
  }
  // As PEFT matches: a dot is any character, and behind ^ the beginning is enough.
  const patterns = entries.map(
    ([end, value]) =>
      [new RegExp(end.startsWith('^') ? end : `^(.*\\.)?(${end})$`), value as number] as const,
  )
  return (module) => patterns.find(([pattern]) => pattern.test(module))?.[1]
}

/**
 * Reads adapter_config.json of a folder.
 *
 * @throws {MoeError} ERR_MOE_CHECKPOINT where it is absent or wrong, ERR_MOE_UNSUPPORTED for what is not run, by name
 */
export function readPeftConfig(dir: string): PeftConfig {
  const file = path.join(dir, 'adapter_config.json')
  const json = readJson(file)
  if (!json) throw new MoeError('ERR_MOE_CHECKPOINT', `${file}: file must exist, got nothing there`)
  if (json.peft_type !== 'LORA') new ConfigReader(json, file).unsupported('peft_type', '"LORA"')
  const config = new ConfigReader<(typeof loraKeys.used)[number]>(json, file, [loraKeys])
  const r = config.int('r', 8)
  const alpha = config.number('lora_alpha', 8, 0, 2 ** 20)
  const stabilised = config.flag('use_rslora', false)
  const ranks = patternOf(file, 'rank_pattern', config.dictionary('rank_pattern'))
  const alphas = patternOf(file, 'alpha_pattern', config.dictionary('alpha_pattern'))
  const rankOf = (module: string) => ranks(module) ?? r
  return {
    rankOf,
    scalingOf(module) {
      const rank = rankOf(module)
      return (alphas(module) ?? alpha) / (stabilised ? Math.sqrt(rank) : rank)
    },
  }
}
