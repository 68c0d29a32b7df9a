import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { configKeys } from './config_keys.ts'
import { readRope, ropeKeys } from './rope.ts'

/** Mixtral: plain sparse MoE (arXiv:2401.04088). */
export interface MixtralConfig extends ModelConfig {
  architecture: 'mixtral'
  /** A token sees this many positions, its own included; undefined: all. */
  slidingWindow: number | undefined
}

/** transformers' MixtralConfig, and what its relatives write into such a file. */
export const mixtralKeys = configKeys({
  used: [
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'head_dim',
    'rms_norm_eps',
    'max_position_embeddings',
    'sliding_window',
    'use_sliding_window',
    'layer_types',
    'num_experts_per_tok',
    'num_local_experts',
    'num_experts',
    'tie_word_embeddings',
    'bos_token_id',
    'eos_token_id',
    ...ropeKeys,
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

function readLayerType(c: ConfigReader<Key>, window: number | undefined): string {
  const type = window === undefined ? 'full_attention' : 'sliding_attention'
  const listed = c.get('layer_types')
  if (listed !== undefined && !(Array.isArray(listed) && listed.every((one) => one === type)))
    c.unsupported('layer_types', `all "${type}", as sliding_window says`)
  return type
}

/** Under either name; files that have both say the same. */
function readExperts(c: ConfigReader<Key>): number {
  const count = c.count('num_local_experts', c.count('num_experts', 8))
  if (c.count('num_experts', count) !== count)
    c.unsupported('num_experts', `the same as num_local_experts, ${count}`)
  return count
}

/** Defaults are those of transformers' MixtralConfig, but for its ids. */
export function readMixtralConfig(c: ConfigReader<Key>): MixtralConfig {
  const vocabSize = c.int('vocab_size')
  const hiddenSize = c.int('hidden_size')
  const numHeads = c.count('num_attention_heads')
  const headSize = c.int('head_dim', Math.floor(hiddenSize / numHeads), { max: limits.headSize })
  const numKeyValueHeads = c.count('num_key_value_heads', numHeads)
  const numExperts = readExperts(c)
  const topK = c.count('num_experts_per_tok', 2)
  if (numHeads % numKeyValueHeads !== 0)
    c.invalid('num_key_value_heads', 'a divisor of num_attention_heads')
  if (headSize % 2 !== 0) c.invalid('head_dim', 'even')
  if (topK > numExperts) c.invalid('num_experts_per_tok', 'at most num_local_experts')
  const slidingWindow = readSlidingWindow(c)
  const layerType = readLayerType(c, slidingWindow)
  const maxPositions = c.int('max_position_embeddings', 131072, { max: limits.positions })
  const rope = readRope(c, { theta: 1e6, kinds: ['default'], layerType, maxPositions })
  return {
    architecture: 'mixtral',
    vocabSize,
    hiddenSize,
    numLayers: c.count('num_hidden_layers'),
    numHeads,
    numKeyValueHeads,
    headSize,
    rotaryDim: headSize,
    rope,
    rmsNormEps: c.epsilon('rms_norm_eps', 1e-5),
    expertSize: c.int('intermediate_size'),
    experts: Array<'ffn'>(numExperts).fill('ffn'),
    topK,
    maxPositionEmbeddings: maxPositions,
    tieWordEmbeddings: c.flag('tie_word_embeddings', false),
    bosId: c.ids('bos_token_id', vocabSize)[0],
    // Absent: the tokenizer's, which need not be the class's default.
    eosIds: c.ids('eos_token_id', vocabSize),
    slidingWindow,
  }
}
