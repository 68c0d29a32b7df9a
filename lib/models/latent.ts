import { LatentAttention, type LatentShape } from '../layers/latent_attention.ts'
import type { Weights } from '../weights/weights.ts'
import { type ConfigReader, limits } from './config.ts'
import {
  type DecoderConfig,
  type DecoderDefaults,
  type DecoderKey,
  readDecoder,
} from './decoder_config.ts'
import type { RopeSpec } from './rope.ts'

/** What configurations with multi-head latent attention have beside a decoder's. */
export interface LatentConfig extends Omit<LatentShape, 'hidden' | 'heads' | 'rotaryDim'> {
  /** The projections to the latents and the one back have biases. */
  attentionBias: boolean
}

export const latentKeys = [
  'q_lora_rank',
  'kv_lora_rank',
  'qk_nope_head_dim',
  'qk_rope_head_dim',
  'v_head_dim',
  'qk_head_dim',
  'head_dim',
  'attention_bias',
] as const
type LatentKey = (typeof latentKeys)[number]

/** A row of the cache, and a head, as the kernels take them. */
const mostValues = 1024

/** Sizes whose defaults are those of all published classes. */
function readLatent(
  c: ConfigReader<LatentKey>,
): LatentConfig & { headSize: number; rotaryDim: number } {
  const size = (key: LatentKey, fallback: number) => c.int(key, fallback, { max: limits.headSize })
  const latentRank = size('kv_lora_rank', 512)
  const keySize = size('qk_nope_head_dim', 128)
  const rotaryDim = size('qk_rope_head_dim', 64)
  if (rotaryDim % 2 !== 0) c.invalid('qk_rope_head_dim', 'even')
  const headSize = keySize + rotaryDim
  if (headSize > mostValues) c.unsupported('qk_nope_head_dim', `at most ${mostValues - rotaryDim}`)
  if (latentRank + rotaryDim > mostValues)
    c.unsupported('kv_lora_rank', `at most ${mostValues - rotaryDim}`)
  // transformers writes what it derives.
  if (c.int('qk_head_dim', headSize) !== headSize)
    c.unsupported('qk_head_dim', `qk_nope_head_dim + qk_rope_head_dim, ${headSize}`)
  if (c.int('head_dim', rotaryDim) !== rotaryDim)
    c.unsupported('head_dim', `qk_rope_head_dim, ${rotaryDim}`)
  return {
    queryRank: c.isNull('q_lora_rank') ? undefined : c.int('q_lora_rank', 1536),
    ...{ latentRank, keySize, rotaryDim, headSize },
    valueSize: size('v_head_dim', 128),
    attentionBias: c.flag('attention_bias', false),
  }
}

/** A decoder's configuration with such attention; each query head has keys and values of its own. */
export function readLatentDecoder(
  c: ConfigReader<DecoderKey | LatentKey>,
  of: Omit<DecoderDefaults, 'headSize'>,
): DecoderConfig & LatentConfig {
  const latent = readLatent(c)
  const shared = readDecoder(c, { ...of, headSize: latent.headSize })
  if (shared.numKeyValueHeads !== shared.numHeads)
    c.unsupported('num_key_value_heads', `num_attention_heads, ${shared.numHeads}`)
  return { ...shared, ...latent }
}

/** YaRN's factor of scores, squared since it is queries' and keys' (arXiv:2309.00071; published code). */
const sharpness = (rope: RopeSpec): number =>
  rope.kind === 'yarn' && rope.mscaleAllDim > 0 && rope.factor > 1
    ? (0.1 * rope.mscaleAllDim * Math.log(rope.factor) + 1) ** 2
    : 1

export interface LatentScales {
  /** Factor of queries. */
  query: number
  /** Factor of the normed latent of keys and values. */
  latent: number
}

/** Attention blocks of such a model, by the prefix of their tensors. */
export function latentAttention(
  c: DecoderConfig & LatentConfig,
  weights: Weights,
  scales: LatentScales = { query: 1, latent: 1 },
): (prefix: string) => LatentAttention {
  const options = {
    ...{ ...c, hidden: c.hiddenSize, heads: c.numHeads, rule: 'self', bias: c.attentionBias },
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    scale: (scales.query * sharpness(c.rope)) / Math.sqrt(c.headSize),
    latentScale: scales.latent,
  }
  return (prefix) => new LatentAttention(weights, prefix, options)
}
