import { MoeError, shown } from '../errors.ts'
import type { Json } from '../weights/json.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import { bailingMoeV2, bailingMoeV2Keys, readBailingMoeV2Config } from './bailing_moe_v2.ts'
import { ConfigReader, limits, type ModelConfig } from './config.ts'
import { type ConfigKeys, commonKeys } from './config_keys.ts'
import { deepseek, deepseekKeys, readDeepseekConfig } from './deepseek.ts'
import { deepseekV2, deepseekV2Keys, readDeepseekV2Config } from './deepseek_v2.ts'
import { deepseekV3, deepseekV3Keys, readDeepseekV3Config } from './deepseek_v3.ts'
import { dots1, dots1Keys, readDots1Config } from './dots1.ts'
import { ernie45Moe, ernie45MoeKeys, readErnie45MoeConfig } from './ernie4_5_moe.ts'
import { glm4Moe, glm4MoeKeys, readGlm4MoeConfig } from './glm4_moe.ts'
import { gptOss, gptOssKeys, readGptOssConfig } from './gpt_oss.ts'
import {
  graniteMoe,
  graniteMoeKeys,
  graniteMoeSharedKeys,
  readGraniteMoeConfig,
  readGraniteMoeSharedConfig,
} from './granitemoe.ts'
import { hunyuanV1Moe } from './hunyuan_v1_moe.ts'
import { hunyuanV1MoeKeys, readHunyuanV1MoeConfig } from './hunyuan_v1_moe_config.ts'
import { llamaMoe, llamaMoeKeys, readLlamaMoeConfig } from './llama_moe.ts'
import { longcatFlash } from './longcat_flash.ts'
import { longcatFlashKeys, readLongcatFlashConfig } from './longcat_flash_config.ts'
import { miniMaxM2, miniMaxM2Keys, readMiniMaxM2Config } from './minimax_m2.ts'
import { mixtral } from './mixtral.ts'
import { mixtralKeys, readMixtralConfig } from './mixtral_config.ts'
import { moePlusPlus } from './moepp.ts'
import { moePlusPlusKeys, readMoePlusPlusConfig } from './moepp_config.ts'
import { olmoe, olmoeKeys, readOlmoeConfig } from './olmoe.ts'
import { phiMoe, phiMoeKeys, readPhiMoeConfig } from './phimoe.ts'
import { qwen2Moe, qwen2MoeKeys, readQwen2MoeConfig } from './qwen2_moe.ts'
import { qwen3Moe, qwen3MoeKeys, readQwen3MoeConfig } from './qwen3_moe.ts'
import { yuan } from './yuan.ts'
import { readYuanConfig, yuanKeys } from './yuan_config.ts'

interface Described {
  config: ModelConfig
  build(weights: Weights, options: GraphOptions): Architecture
}

interface Family {
  /** The published class, for files without `model_type`. */
  name: string
  keys: ConfigKeys
  describe(json: Json): Described
}

function family<Key extends string, Config extends ModelConfig>(
  name: string,
  keys: ConfigKeys<Key>,
  read: (config: ConfigReader<Key>) => Config,
  build: (config: Config, weights: Weights, options: GraphOptions) => Architecture,
): Family {
  const describe = (json: Json): Described => {
    const config = read(new ConfigReader<Key>(json, 'config.json', [commonKeys, keys]))
    return {
      config,
      build(weights, options) {
        const theta = options.ropeTheta ?? config.rope.theta
        const asked = { ...config, rope: { ...config.rope, theta } }
        return build(asked, weights, options)
      },
    }
  }
  return { name, keys, describe }
}

/** Architectures by the `model_type` of config.json. */
export const families: Readonly<Record<string, Family>> = {
  yuan: family('YuanForCausalLM', yuanKeys, readYuanConfig, yuan),
  // A generic name; but this one has keys and tensors that no other has.
  'MoE++': family('MoeForCausalLM', moePlusPlusKeys, readMoePlusPlusConfig, moePlusPlus),
  mixtral: family('MixtralForCausalLM', mixtralKeys, readMixtralConfig, mixtral),
  qwen3_moe: family('Qwen3MoeForCausalLM', qwen3MoeKeys, readQwen3MoeConfig, qwen3Moe),
  olmoe: family('OlmoeForCausalLM', olmoeKeys, readOlmoeConfig, olmoe),
  deepseek_v2: family('DeepseekV2ForCausalLM', deepseekV2Keys, readDeepseekV2Config, deepseekV2),
  deepseek_v3: family('DeepseekV3ForCausalLM', deepseekV3Keys, readDeepseekV3Config, deepseekV3),
  longcat_flash: family(
    'LongcatFlashForCausalLM',
    longcatFlashKeys,
    readLongcatFlashConfig,
    longcatFlash,
  ),
  qwen2_moe: family('Qwen2MoeForCausalLM', qwen2MoeKeys, readQwen2MoeConfig, qwen2Moe),
  deepseek: family('DeepseekForCausalLM', deepseekKeys, readDeepseekConfig, deepseek),
  llama_moe: family('LlamaMoEForCausalLM', llamaMoeKeys, readLlamaMoeConfig, llamaMoe),
  granitemoe: family('GraniteMoeForCausalLM', graniteMoeKeys, readGraniteMoeConfig, graniteMoe),
  granitemoeshared: family(
    'GraniteMoeSharedForCausalLM',
    graniteMoeSharedKeys,
    readGraniteMoeSharedConfig,
    graniteMoe,
  ),
  gpt_oss: family('GptOssForCausalLM', gptOssKeys, readGptOssConfig, gptOss),
  phimoe: family('PhiMoEForCausalLM', phiMoeKeys, readPhiMoeConfig, phiMoe),
  glm4_moe: family('Glm4MoeForCausalLM', glm4MoeKeys, readGlm4MoeConfig, glm4Moe),
  ernie4_5_moe: family('Ernie4_5_MoeForCausalLM', ernie45MoeKeys, readErnie45MoeConfig, ernie45Moe),
  // Moonshot's name for DeepSeek-V3's code, with another number of experts.
  kimi_k2: family('DeepseekV3ForCausalLM', deepseekV3Keys, readDeepseekV3Config, deepseekV3),
  dots1: family('Dots1ForCausalLM', dots1Keys, readDots1Config, dots1),
  bailing_moe_v2: family(
    'BailingMoeV2ForCausalLM',
    bailingMoeV2Keys,
    readBailingMoeV2Config,
    bailingMoeV2,
  ),
  // As the released files of Ling and Ring 2.0 call it; the first Ling's have the same name and lack keys of this one.
  bailing_moe: family(
    'BailingMoeV2ForCausalLM',
    bailingMoeV2Keys,
    readBailingMoeV2Config,
    bailingMoeV2,
  ),
  hunyuan_v1_moe: family(
    'HunYuanMoEV1ForCausalLM',
    hunyuanV1MoeKeys,
    readHunyuanV1MoeConfig,
    hunyuanV1Moe,
  ),
  minimax_m2: family('MiniMaxM2ForCausalLM', miniMaxM2Keys, readMiniMaxM2Config, miniMaxM2),
}

/** Read elsewhere. */
const encoderDecoders = ['switch_transformers', 't5']

/** What the first files of Hunyuan-A13B and MiniMax-M2 say, and those of other, older models: their class says which. */
const sharedTypes = ['hunyuan', 'minimax']

function familyOf({ model_type: type, architectures }: Json): Family {
  const known = Object.keys(families)
  if (typeof type === 'string' && known.includes(type)) return families[type]!
  const named = Array.isArray(architectures) ? architectures : []
  const byName = Object.values(families).find(({ name }) => named.includes(name))
  if (byName && ((type ?? undefined) === undefined || sharedTypes.includes(type as string)))
    return byName
  throw new MoeError(
    'ERR_MOE_UNSUPPORTED',
    `config.json: model_type must be one of ${[...known, ...encoderDecoders].join(', ')}, got ${shown(type)}`,
  )
}

/** Chooses the architecture and validates its configuration. */
export function describeModel(json: Json): Described {
  const described = familyOf(json).describe(json)
  const { numLayers, experts } = described.config
  if (numLayers * experts.length > limits.experts)
    throw new MoeError(
      'ERR_MOE_UNSUPPORTED',
      `config.json: num_hidden_layers must be at most ${Math.floor(limits.experts / experts.length)} for ${experts.length} experts, got ${numLayers}`,
    )
  return described
}
