import { describe, expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { native, type Tensor, type WeightFormat } from '../../lib/native.ts'
import { countParameters } from '../../lib/parameters.ts'
import { count, type Share, WeightList } from '../../lib/weights/weights.ts'
import { familySamples } from '../support/families/index.ts'
import { failure } from '../support/files.ts'

const yuan = {
  model_type: 'yuan',
  vocab_size: 135040,
  hidden_size: 2048,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  attention_projection_size: 4096,
  rms_norm_eps: 1e-6,
  eod_token: 77185,
  moe_config: {
    moe_num_experts: 32,
    moe_top_k: 2,
    ffn_hidden_size: 8192,
    norm_topk_prob: true,
    gated_linear_unit: true,
  },
}
const moepp = {
  model_type: 'MoE++',
  vocab_size: 65536,
  hidden_size: 1536,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  num_experts: [20],
  moe_2layer_gate: false,
  moe_use_logits_norm: true,
  moe_feature_no_mul_topk: true,
}
const llamaMoe = familySamples.llama_moe!.published![0]!.config
const mixtral = {
  model_type: 'mixtral',
  vocab_size: 32000,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
}

/** Every name is there, nothing is loaded. */
class Counting extends WeightList {
  ignore(): void {}
  table(_: string, shape: number[], share: Share = 'embedding'): Tensor {
    this.parameters[share] += count(shape)
    return native().tensor([0], 'f32')
  }
  protected loadVectors(): void {}
  protected loadMatrix(): void {}
  protected matrixFormat(): WeightFormat {
    return 'bf16'
  }
  protected later(): void {}
}

function parameters(json: Record<string, unknown>) {
  const weights = new Counting()
  const { layers } = describeModel(json).build(weights, {})
  return countParameters(layers, weights)
}

describe('parameters of the published models', () => {
  it('Yuan 2.0-M32: 39.94 billion, 3.7 active', () => {
    // The specification leaves the final norm's 2048 out of the active ones.
    expect(parameters(yuan)).toEqual({
      total: 39_942_842_368,
      activePerToken: 3_704_053_760 + 2048,
    })
  })
  it('MoE++ 7B/(16+4)E: 7.68 billion, 1.23 active', () => {
    const { total, activePerToken } = parameters(moepp)
    expect(total).toBe(7_676_619_648)
    expect(activePerToken / 1e9).toBeCloseTo(1.23, 2)
  })
  it('Mixtral 8x7B: 46.7 billion, 12.7 active without the embedding table', () => {
    const { total, activePerToken } = parameters(mixtral)
    expect(total / 1e9).toBeCloseTo(46.7, 1)
    expect(activePerToken / 1e9).toBeCloseTo(12.7, 1)
  })
})

const published = Object.values(familySamples).flatMap((family) => family.published ?? [])
it.each(published)('parameters of $name', ({ config, total, active }) => {
  const counted = parameters(config)
  expect(counted.total).toBe(total)
  // Publishers round these.
  if (active) expect(Math.abs(counted.activePerToken / active - 1)).toBeLessThan(2e-3)
})

describe('defaults', () => {
  it('MoE++: those of the published class, not of the released model', () => {
    const { config } = describeModel({ model_type: 'MoE++' })
    expect(config).toMatchObject({
      hiddenSize: 4096,
      twoLayerRouter: true,
      logitsNormStd: 0,
      inputScale: 2,
      gating: 'standard',
      eosIds: [2],
    })
    expect(config.experts.slice(-4)).toEqual(['constant', 'constant', 'copy', 'zero'])
  })
  it('Mixtral', () => {
    const { config } = describeModel(mixtral)
    expect(config).toMatchObject({
      headSize: 128,
      rope: { kind: 'default', theta: 1e6 },
      rmsNormEps: 1e-5,
      topK: 2,
      slidingWindow: undefined,
    })
  })
  it('Yuan: rotary width of hidden / heads, tied head, base 10000', () => {
    const { config } = describeModel(yuan)
    expect(config).toMatchObject({
      headSize: 256,
      rotaryDim: 128,
      tieWordEmbeddings: true,
      rope: { kind: 'default', theta: 10000 },
      eosIds: [77185],
    })
  })
  it('Yuan with reset_position_ids false is plain causal', () => {
    const { config } = describeModel({
      ...yuan,
      reset_position_ids: false,
      reset_attention_mask: true,
    })
    expect(config).toMatchObject({ resetAfterId: undefined })
  })
})

describe('configurations that are refused', () => {
  it.each<[string, Record<string, unknown>, string, RegExp]>([
    [
      'unknown model_type',
      { model_type: 'llama' },
      'ERR_MOE_UNSUPPORTED',
      /model_type must be one of yuan, MoE\+\+, mixtral, .*, got "llama"/,
    ],
    ['no model_type', {}, 'ERR_MOE_UNSUPPORTED', /model_type/],
    ['a name every object has', { model_type: 'constructor' }, 'ERR_MOE_UNSUPPORTED', /model_type/],
    ['dense Yuan', { ...yuan, moe_config: undefined }, 'ERR_MOE_UNSUPPORTED', /moe_config/],
    [
      'Yuan with shared QK',
      { ...yuan, use_shareqk: true },
      'ERR_MOE_UNSUPPORTED',
      /use_shareqk must be false/,
    ],
    ['Yuan with YaRN', { ...yuan, use_yarn: true }, 'ERR_MOE_UNSUPPORTED', /use_yarn/],
    [
      'Yuan with another activation',
      { ...yuan, hidden_act: 'gelu' },
      'ERR_MOE_UNSUPPORTED',
      /hidden_act must be "silu", got "gelu"/,
    ],
    [
      'Yuan with too many chosen',
      { ...yuan, moe_config: { ...yuan.moe_config, moe_top_k: 33 } },
      'ERR_MOE_CHECKPOINT',
      /moe_config: moe_top_k must be at most moe_num_experts, got 33/,
    ],
    [
      'Yuan without heads',
      { ...yuan, num_attention_heads: undefined },
      'ERR_MOE_CHECKPOINT',
      /num_attention_heads must be a whole number/,
    ],
    [
      'MoE++ with dense layers',
      { ...moepp, moe_expert_interval: 2 },
      'ERR_MOE_UNSUPPORTED',
      /moe_expert_interval must be 1, got 2/,
    ],
    [
      'MoE++ with dynamic rotary scaling',
      { ...moepp, rope_scaling: { type: 'dynamic', factor: 2 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_scaling/,
    ],
    [
      'MoE++ with a number for num_experts',
      { ...moepp, num_experts: 20 },
      'ERR_MOE_CHECKPOINT',
      /num_experts must be a list/,
    ],
    [
      'MoE++ with heads that do not divide',
      { ...moepp, num_attention_heads: 7 },
      'ERR_MOE_CHECKPOINT',
      /hidden_size must be an even multiple/,
    ],
    [
      'Mixtral with rotary scaling',
      { ...mixtral, rope_scaling: { type: 'linear', factor: 2 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_scaling must be null/,
    ],
    [
      'Mixtral with attention bias',
      { ...mixtral, attention_bias: true },
      'ERR_MOE_UNSUPPORTED',
      /attention_bias/,
    ],
    [
      'Mixtral with a negative layer count',
      { ...mixtral, num_hidden_layers: -1 },
      'ERR_MOE_CHECKPOINT',
      /num_hidden_layers/,
    ],
    [
      'Mixtral with a string for a size',
      { ...mixtral, hidden_size: '4096' },
      'ERR_MOE_CHECKPOINT',
      /hidden_size must be a whole number of at least 1, got "4096"/,
    ],
    [
      'LLaMA-MoE with more chosen than there are',
      { ...llamaMoe, num_selects: 9 },
      'ERR_MOE_CHECKPOINT',
      /num_selects must be at most the number of experts, 8, got 9/,
    ],
    [
      'LLaMA-MoE with neurons that cannot be dealt out',
      { ...llamaMoe, intermediate_size: 11009 },
      'ERR_MOE_CHECKPOINT',
      /intermediate_size must be a multiple of num_experts, got 11009/,
    ],
    [
      'LLaMA-MoE with sizes of too few layers',
      { ...llamaMoe, size_experts: [Array(8).fill(1376)] },
      'ERR_MOE_CHECKPOINT',
      /size_experts must be 32 lists of 8 whole numbers/,
    ],
    [
      'LLaMA-MoE with factors of too few layers',
      { ...llamaMoe, score_scale_factor: [4, 4] },
      'ERR_MOE_CHECKPOINT',
      /score_scale_factor must be one number, or 32/,
    ],
    [
      'LLaMA-MoE with a router that drops tokens',
      { ...llamaMoe, calculator_type: 'SwitchDropTokenCalculator' },
      'ERR_MOE_UNSUPPORTED',
      /calculator_type must be "UniversalCalculator"/,
    ],
    [
      'LLaMA-MoE with another gate',
      { ...llamaMoe, gate_network: 'mlp_with_norm' },
      'ERR_MOE_UNSUPPORTED',
      /gate_network must be "mlp" or "linear"/,
    ],
    [
      'LLaMA-MoE with dynamic rotary scaling',
      { ...llamaMoe, rope_scaling: { type: 'dynamic', factor: 2 } },
      'ERR_MOE_UNSUPPORTED',
      /rope_scaling/,
    ],
    [
      'Mixtral with key heads that do not divide',
      { ...mixtral, num_key_value_heads: 5 },
      'ERR_MOE_CHECKPOINT',
      /num_key_value_heads/,
    ],
  ])('%s', async (_, json, code, message) => {
    const error = await failure(() => describeModel(json))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(message)
  })
})
