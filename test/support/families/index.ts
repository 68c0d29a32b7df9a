import { bailingMoe, bailingMoeV2 } from './bailing_moe_v2.ts'
import { deepseek } from './deepseek.ts'
import { deepseekV2 } from './deepseek_v2.ts'
import { deepseekV3 } from './deepseek_v3.ts'
import { dots1 } from './dots1.ts'
import { ernie45Moe } from './ernie4_5_moe.ts'
import { glm4Moe } from './glm4_moe.ts'
import { gptOss } from './gpt_oss.ts'
import { graniteMoe, graniteMoeShared } from './granitemoe.ts'
import { hunyuanV1Moe } from './hunyuan_v1_moe.ts'
import { kimiK2 } from './kimi_k2.ts'
import { llamaMoe } from './llama_moe.ts'
import { longcatFlash } from './longcat_flash.ts'
import { miniMaxM2 } from './minimax_m2.ts'
import { mixtral } from './mixtral.ts'
import { moePlusPlus } from './moepp.ts'
import { olmoe } from './olmoe.ts'
import { phiMoe } from './phimoe.ts'
import { qwen2Moe } from './qwen2_moe.ts'
import { qwen3Moe } from './qwen3_moe.ts'
import type { FamilySamples } from './samples.ts'
import { yuan } from './yuan.ts'

/** By `model_type`. */
export const familySamples: Readonly<Record<string, FamilySamples>> = {
  yuan,
  'MoE++': moePlusPlus,
  mixtral,
  qwen3_moe: qwen3Moe,
  olmoe,
  deepseek_v2: deepseekV2,
  deepseek_v3: deepseekV3,
  longcat_flash: longcatFlash,
  qwen2_moe: qwen2Moe,
  deepseek,
  llama_moe: llamaMoe,
  granitemoe: graniteMoe,
  granitemoeshared: graniteMoeShared,
  gpt_oss: gptOss,
  phimoe: phiMoe,
  glm4_moe: glm4Moe,
  ernie4_5_moe: ernie45Moe,
  kimi_k2: kimiK2,
  dots1,
  bailing_moe_v2: bailingMoeV2,
  bailing_moe: bailingMoe,
  hunyuan_v1_moe: hunyuanV1Moe,
  minimax_m2: miniMaxM2,
}
