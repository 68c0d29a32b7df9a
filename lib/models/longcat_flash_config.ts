import type { ExpertKind } from '../ops/index.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { type DecoderConfig, decoderKeys } from './decoder_config.ts'
import { type LatentConfig, latentKeys, readLatentDecoder } from './latent.ts'

/** LongCat-Flash (arXiv:2509.01322): two attention blocks a layer, and experts that return their input. */
export interface LongcatFlashConfig extends DecoderConfig, LatentConfig {
  architecture: 'longcat_flash'
  expertSize: number
  /** FFN experts, then those that return their input. */
  experts: ExpertKind[]
  topK: number
  /** Factor of the chosen experts' weights. */
  routedScale: number
  /** Inner size of a layer's two dense blocks. */
  denseSize: number
}

/** transformers' LongcatFlashConfig and the publisher's. */
export const longcatFlashKeys = configKeys({
  used: [
    ...decoderKeys,
    ...latentKeys,
    'num_layers',
    'ffn_hidden_size',
    'expert_ffn_hidden_size',
    'n_routed_experts',
    'zero_expert_num',
    'moe_topk',
    'routed_scaling_factor',
  ],
  only: {
    hidden_act: ['silu'],
    attention_method: ['MLA'],
    zero_expert_type: ['identity'],
    router_bias: [false],
    mla_scale_q_lora: [true],
    mla_scale_kv_lora: [true],
  },
})
type Key = (typeof longcatFlashKeys)['used'][number]

/** transformers counts attention blocks, of which a layer has two, under the other name. */
function readLayers(c: ConfigReader<Key>): number {
  const layers = c.count('num_layers', 28)
  const written = c.count('num_hidden_layers', layers)
  if (written !== layers && written !== 2 * layers)
    c.unsupported('num_hidden_layers', `num_layers, ${layers}, or twice that`)
  return layers
}

export function readLongcatFlashConfig(c: ConfigReader<Key>): LongcatFlashConfig {
  const shared = readLatentDecoder(c, {
    ...{ eps: 1e-5, theta: 1e7, maxPositions: 131072 },
    numLayers: readLayers(c),
    ropeKinds: ['default'],
  })
  const routed = c.count('n_routed_experts', 512)
  const identity = c.int('zero_expert_num', 256, { min: 0, max: limits.count })
  const experts: ExpertKind[] = [
    ...Array<ExpertKind>(routed).fill('ffn'),
    ...Array<ExpertKind>(identity).fill('copy'),
  ]
  if (experts.length > limits.count)
    c.invalid('zero_expert_num', `at most ${limits.count - routed} beside n_routed_experts`)
  const topK = c.count('moe_topk', 12)
  if (topK > experts.length)
    c.invalid('moe_topk', `at most the number of experts, ${experts.length}`)
  return {
    architecture: 'longcat_flash',
    ...shared,
    queryRank: shared.queryRank ?? 1536,
    expertSize: c.int('expert_ffn_hidden_size', 2048),
    ...{ experts, topK },
    routedScale: c.number('routed_scaling_factor', 6, 0, limits.factor),
    denseSize: c.int('ffn_hidden_size', 12288),
  }
}
