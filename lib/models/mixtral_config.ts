import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { configKeys } from './config_keys.ts'
import {
  checkLayerTypes,
  decoderKeys,
  readDecoder,
  readExpertCount,
  readHeadSize,
  readTopK,
} from './decoder_config.ts'

/** Mixtral: plain sparse MoE (arXiv:2401.04088). */
export interface MixtralConfig extends ModelConfig {
  architecture: 'mixtral'
  /** A token sees this many positions, its own included; undefined: all. */
  slidingWindow: number | undefined
}

/** transformers' MixtralConfig, and what its relatives write into such a file. */
export const mixtralKeys = configKeys({
  used: [
    ...decoderKeys,
    'intermediate_size',
    'head_dim',
    'sliding_window',
    'use_sliding_window',
    'layer_types',
    'num_experts_per_tok',
    'num_local_experts',
    'num_experts',
  ],
  only: {
    hidden_act: ['silu'],
    attention_bias: [false],
    mlp_bias: [false],
    partial_rotary_factor: [1],
  },
  ignored: { 'training only': ['router_jitter_noise'] },
})
type Key = (typeof mixtralKeys)['used'][number]

/** 0 is none, as the kernels of the published class take it; it reads no other key for this. */
function readSlidingWindow(c: ConfigReader<Key>): number | undefined {
  const size = c.int('sliding_window', 0, { min: 0, max: limits.positions })
  if (size > 0 && !c.flag('use_sliding_window', true))
    c.unsupported('use_sliding_window', `true or absent beside a sliding_window of ${size}`)
  return size > 0 ? size : undefined
}

/** Defaults are those of transformers' MixtralConfig, but for its ids. */
export function readMixtralConfig(c: ConfigReader<Key>): MixtralConfig {
  const slidingWindow = readSlidingWindow(c)
  return {
    architecture: 'mixtral',
    ...readDecoder(c, {
      ...{ eps: 1e-5, theta: 1e6, maxPositions: 131072, ropeKinds: ['default'] },
      layerType: checkLayerTypes(c, slidingWindow),
      headSize: readHeadSize(c),
    }),
    expertSize: c.int('intermediate_size'),
    ...readTopK(c, 'num_experts_per_tok', readExpertCount(c, 8), 2),
    slidingWindow,
  }
}
