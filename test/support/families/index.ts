import { deepseek } from './deepseek.ts'
import { llamaMoe } from './llama_moe.ts'
import { mixtral } from './mixtral.ts'
import { moePlusPlus } from './moepp.ts'
import { olmoe } from './olmoe.ts'
import { phiMoe } from './phimoe.ts'
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
  deepseek,
  llama_moe: llamaMoe,
  phimoe: phiMoe,
}
