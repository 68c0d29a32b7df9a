import { type ConfigReader, limits, type ModelConfig } from './config.ts'
import { configKeys } from './config_keys.ts'
import { readRope, ropeKeys } from './rope.ts'

/** MoE++: FFN experts beside constant, copy and zero experts (arXiv:2410.07348 and the published code). */
export interface MoePlusPlusConfig extends ModelConfig {
  architecture: 'moepp'
  twoLayerRouter: boolean
  /** Target standard deviation of the logits norm; 0: no norm. */
  logitsNormStd: number
  /** `standard`: the zero expert gives its share away; `mixtral`: it keeps it. */
  gating: 'standard' | 'mixtral'
  /** The experts' input is multiplied by this; the router's is not. */
  inputScale: number
}

/** The published MoeConfig class. */
export const moePlusPlusKeys = configKeys({
  used: [
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'max_position_embeddings',
    'rms_norm_eps',
    'tie_word_embeddings',
    'bos_token_id',
    'eos_token_id',
    'num_experts',
    'moe_use_mixtral_gating',
    'moe_2layer_gate',
    'moe_use_logits_norm',
    'moe_gate_norm_std',
    'moe_feature_no_mul_topk',
    ...ropeKeys,
  ],
  only: {
    // Dense layers between MoE layers: the published code cannot run them.
    moe_expert_interval: [1],
    attention_bias: [false],
    partial_rotary_factor: [1],
  },
  ignored: {
    'the experts are SwiGLU whatever it says, as published': ['hidden_act'],
    'in the published file, but its class does not read it': ['sliding_window', 'rotary_percent'],
  },
})
type Key = (typeof moePlusPlusKeys)['used'][number]

/** Constants of the published code: they are in no config. */
const topK = 2
const numConstants = 2

/** A list, of which the published code reads the first number: all experts of a layer, of every kind. */
function readExperts(c: ConfigReader<Key>): MoePlusPlusConfig['experts'] {
  const listed = c.get('num_experts') ?? [32]
  const [least, most] = [numConstants + 3, limits.count]
  const count: unknown = Array.isArray(listed) ? listed[0] : undefined
  if (!Number.isSafeInteger(count) || (count as number) < least || (count as number) > most)
    c.invalid(
      'num_experts',
      `a list whose first number, of all experts, is from ${least} to ${most}`,
    )
  if (!(listed as unknown[]).every((one) => one === count))
    c.unsupported('num_experts', 'a list of one number, for all layers')
  return [
    ...Array<'ffn'>((count as number) - numConstants - 2).fill('ffn'),
    ...Array<'constant'>(numConstants).fill('constant'),
    'copy',
    'zero',
  ]
}

/** Defaults are those of the published MoeConfig class, which differ from the released model's values. */
export function readMoePlusPlusConfig(c: ConfigReader<Key>): MoePlusPlusConfig {
  const experts = readExperts(c)
  const vocabSize = c.int('vocab_size', 32000)
  const hiddenSize = c.int('hidden_size', 4096)
  const numHeads = c.count('num_attention_heads', 32)
  const numKeyValueHeads = c.count('num_key_value_heads', numHeads)
  const headSize = hiddenSize / numHeads
  if (hiddenSize % (2 * numHeads) !== 0 || headSize > limits.headSize)
    c.invalid(
      'hidden_size',
      `an even multiple of num_attention_heads, at most ${limits.headSize} times it`,
    )
  if (numHeads % numKeyValueHeads !== 0)
    c.invalid('num_key_value_heads', 'a divisor of num_attention_heads')
  const mixtralGating = c.flag('moe_use_mixtral_gating', false)
  const doubled = !c.flag('moe_feature_no_mul_topk', false) && !mixtralGating
  const normStd = c.number('moe_gate_norm_std', 1, 1e-6, 1e6)
  const maxPositions = c.int('max_position_embeddings', 2048, { max: limits.positions })
  // The published `dynamic` depends on the longest text the process has seen.
  const kinds = ['default', 'linear', 'ntk'] as const
  const rope = readRope(c, { theta: 10000, kinds, maxPositions })
  return {
    architecture: 'moepp',
    vocabSize,
    hiddenSize,
    numLayers: c.count('num_hidden_layers', 32),
    numHeads,
    numKeyValueHeads,
    headSize,
    rotaryDim: headSize,
    rope,
    rmsNormEps: c.epsilon('rms_norm_eps', 1e-6),
    expertSize: c.int('intermediate_size', 11008),
    experts,
    topK,
    maxPositionEmbeddings: maxPositions,
    tieWordEmbeddings: c.flag('tie_word_embeddings', false),
    bosId: c.ids('bos_token_id', vocabSize, [1])[0],
    eosIds: c.ids('eos_token_id', vocabSize, [2]),
    twoLayerRouter: c.flag('moe_2layer_gate', true),
    logitsNormStd: c.flag('moe_use_logits_norm', false) ? normStd : 0,
    gating: mixtralGating ? 'mixtral' : 'standard',
    inputScale: doubled ? topK : 1,
  }
}
