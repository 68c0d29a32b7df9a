import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { configKeys } from './config_keys.ts'
import { readRope, ropeKeys } from './rope.ts'

/** Yuan 2.0-M32 (arXiv:2405.17976 and the published modelling file). */
export interface YuanConfig extends ModelConfig {
  architecture: 'yuan'
  /** The chosen probabilities are renormalised. */
  normTopkProb: boolean
  /** SwiGLU experts; otherwise plain SiLU. */
  gatedExperts: boolean
  /** Nothing at or before this id is visible after it; undefined: plain causal. */
  resetAfterId: number | undefined
}

/** The published YuanConfig class, the file it is published with, and what the authors' other code reads. */
export const yuanKeys = configKeys({
  used: [
    'vocab_size',
    'hidden_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'attention_projection_size',
    'moe_config',
    'rms_norm_eps',
    'max_position_embeddings',
    'tie_word_embeddings',
    'eod_token',
    'eos_token_id',
    'use_flash_attention',
    'reset_attention_mask',
    'reset_position_ids',
    'rotary_base',
    ...ropeKeys,
  ],
  only: {
    hidden_act: ['silu'],
    use_moe: [true],
    use_shareqk: [false],
    use_yarn: [false],
  },
  ignored: {
    'of dense layers, which this model has none of': ['intermediate_size'],
    'the mask is causal all the same, as published': ['causal_mask'],
    'training only': ['use_loss_mask'],
    'read with use_yarn only': [
      ...['yarn_scale_factor', 'scaled_max_position_embeddings', 'attn_factor'],
    ],
    'the tokenizer says it': ['bos_token_id', 'eod_token_id', 'sep_token', 'mask_token'],
  },
})

const moeKeys = configKeys({
  used: ['moe_num_experts', 'moe_top_k', 'ffn_hidden_size', 'norm_topk_prob', 'gated_linear_unit'],
  only: { per_layer_experts_blocks: [] },
})
type Key = (typeof yuanKeys)['used'][number]

/** The published code has the base fixed at 10000 and no key for it; ports read one of two names. */
function readTheta(c: ConfigReader<Key>, maxPositions: number): number {
  const base = c.number('rotary_base', 10000, 1, limits.theta)
  const { theta } = readRope(c, { theta: base, kinds: ['default'], maxPositions })
  if (c.get('rotary_base') !== undefined && theta !== base)
    c.unsupported('rotary_base', `the same as rope_theta, ${theta}`)
  return theta
}

/** Defaults are those of the published YuanConfig class, except where it does not describe the model. */
export function readYuanConfig(c: ConfigReader<Key>): YuanConfig {
  if (c.get('moe_config') === undefined)
    c.unsupported('moe_config', 'there: dense Yuan models are another architecture')
  const m = c.object('moe_config', moeKeys)
  const vocabSize = c.int('vocab_size')
  const hiddenSize = c.int('hidden_size')
  const numHeads = c.count('num_attention_heads')
  const projection = c.int('attention_projection_size', hiddenSize)
  const numExperts = m.count('moe_num_experts')
  const topK = m.count('moe_top_k', 2)
  const headSize = projection / numHeads
  if (hiddenSize % (2 * numHeads) !== 0)
    c.invalid('hidden_size', 'an even multiple of num_attention_heads')
  if (projection % (2 * numHeads) !== 0 || headSize > limits.headSize)
    c.invalid(
      'attention_projection_size',
      `an even multiple of num_attention_heads, at most ${limits.headSize} times it`,
    )
  if (c.count('num_key_value_heads', numHeads) !== numHeads)
    c.unsupported('num_key_value_heads', `the same as num_attention_heads, ${numHeads}`)
  if (topK > numExperts) m.invalid('moe_top_k', 'at most moe_num_experts')
  // The published flash path ignores the reset, and so does `reset_position_ids: false`: plain causal.
  const reset = c.flag('reset_attention_mask', false)
  const positions = c.flag('reset_position_ids', false)
  const flash = c.flag('use_flash_attention', false)
  const eod = c.ids('eod_token', vocabSize)
  const eos = c.ids('eos_token_id', vocabSize)
  const maxPositions = c.int('max_position_embeddings', 4096, { max: limits.positions })
  return {
    architecture: 'yuan',
    vocabSize,
    hiddenSize,
    numLayers: c.count('num_hidden_layers'),
    numHeads,
    numKeyValueHeads: numHeads,
    headSize,
    rotaryDim: Math.min(hiddenSize, projection) / numHeads,
    rope: { kind: 'default', theta: readTheta(c, maxPositions) },
    rmsNormEps: c.epsilon('rms_norm_eps', 1e-6),
    expertSize: m.int('ffn_hidden_size'),
    experts: Array<'ffn'>(numExperts).fill('ffn'),
    topK,
    maxPositionEmbeddings: maxPositions,
    tieWordEmbeddings: c.flag('tie_word_embeddings', true),
    bosId: undefined,
    eosIds: eod.length > 0 ? eod : eos,
    normTopkProb: m.flag('norm_topk_prob', true),
    gatedExperts: m.flag('gated_linear_unit', true),
    resetAfterId: reset && positions && !flash ? eod[0] : undefined,
  }
}
