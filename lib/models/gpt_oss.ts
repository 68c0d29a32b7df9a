import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { type Experts, MoeLayer, packedExperts } from '../layers/moe.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import { rowsOf, slabOf, type Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import {
  type DecoderConfig,
  decoderKeys,
  readDecoder,
  readHeadSize,
  readTopK,
} from './decoder_config.ts'
import { type LayerType, layerVisibility, readLayerTypes } from './layer_types.ts'
import type { RopeSpec } from './rope.ts'

/** gpt-oss (arXiv:2508.10925): sinks, a window in some layers, experts with biases and a clamped SwiGLU. */
export interface GptOssConfig extends DecoderConfig {
  architecture: 'gpt_oss'
  expertSize: number
  experts: 'ffn'[]
  topK: number
  /** What each layer's attention sees. */
  layerTypes: LayerType[]
  slidingWindow: number
  /** The four projections have biases. */
  attentionBias: boolean
  /** Gates are at most this, up values within it. */
  swigluLimit: number
}

/** transformers' GptOssConfig, and what the released files have beside it. */
export const gptOssKeys = configKeys({
  used: [
    ...decoderKeys,
    'head_dim',
    'attention_bias',
    'sliding_window',
    'layer_types',
    'intermediate_size',
    'num_local_experts',
    'num_experts_per_tok',
    'experts_per_token',
    'swiglu_limit',
  ],
  only: { hidden_act: ['silu'], partial_rotary_factor: [1] },
  ignored: { 'in the published file, but its class does not read it': ['initial_context_length'] },
})
type Key = (typeof gptOssKeys)['used'][number]

/** The published class has a scaling where the file says nothing. */
function readScaling(c: ConfigReader<Key>, { theta, ...said }: RopeSpec): RopeSpec {
  if (c.get('rope_scaling') !== undefined || c.get('rope_parameters') !== undefined)
    return { theta, ...said } as RopeSpec
  return {
    ...{ kind: 'yarn', theta, factor: 32, fast: 32, slow: 1, truncate: false, original: 4096 },
    ...{ attention: 0.1 * Math.log(32) + 1, mscaleAllDim: 0 },
  }
}

export function readGptOssConfig(c: ConfigReader<Key>): GptOssConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-5, theta: 150000, maxPositions: 131072, keyValueHeads: 8 },
    ropeKinds: ['default', 'linear', 'llama3', 'yarn'],
    headSize: readHeadSize(c) ?? 64,
  })
  const chosen = readTopK(c, 'num_experts_per_tok', c.count('num_local_experts', 128), 4)
  if (c.count('experts_per_token', chosen.topK) !== chosen.topK)
    c.unsupported('experts_per_token', `the same as num_experts_per_tok, ${chosen.topK}`)
  return {
    architecture: 'gpt_oss',
    ...shared,
    rope: readScaling(c, shared.rope),
    ...chosen,
    expertSize: c.int('intermediate_size', 2880),
    layerTypes: readLayerTypes(c, shared.numLayers, (l) =>
      l % 2 === 0 ? 'sliding_attention' : 'full_attention',
    ),
    slidingWindow: c.isNull('sliding_window')
      ? c.invalid('sliding_window', 'a whole number of at least 1')
      : c.int('sliding_window', 128, { max: limits.positions }),
    attentionBias: c.flag('attention_bias', true),
    swigluLimit: c.number('swiglu_limit', 7, 1e-6, limits.factor),
  }
}

/** Stored inputs first unless they are in MXFP4, a gate and its up value side by side, in the biases too. */
function readExperts(
  weights: Weights,
  prefix: string,
  { hiddenSize: H, expertSize: I, experts, swigluLimit: limit }: GptOssConfig,
): Omit<Experts, 'kinds' | 'topK'> {
  const E = experts.length
  const halves = (name: string, shape: number[], slab: number, transposed: boolean) =>
    [0, 1].map((start) => ({ name, shape, slab, start, count: I, step: 2, transposed }))
  const [gateUp, down] = [`${prefix}.gate_up_proj`, `${prefix}.down_proj`]
  const biases = experts.flatMap((_, e) => halves(`${gateUp}_bias`, [E, 2 * I], e, false))
  return {
    ...packedExperts(weights, E, {
      gateUp: (e) => halves(gateUp, [E, H, 2 * I], e, true),
      down: (e) => [{ ...slabOf(down, [E, I, H], e), count: H, transposed: true }],
    }),
    biases: {
      gateUp: weights.gathered(biases, [E, 2 * I], 'expert'),
      down: weights.gathered([rowsOf(`${down}_bias`, [E, H])], [E, H], 'expert'),
    },
    activation: 'swigluClamped',
    limit,
  }
}

export function gptOss(c: GptOssConfig, weights: Weights): Architecture {
  const { hiddenSize: hidden, attentionBias: bias, experts: kinds, topK } = c
  const attention: Omit<AttentionOptions, 'rule'> = {
    ...headShape(c),
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    bias: { qkv: bias, out: bias },
    sinks: true,
  }
  return decoder(c, weights, {
    visibility: layerVisibility(c.slidingWindow),
    attention: (prefix, l) =>
      new SelfAttention(weights, prefix, { ...attention, rule: c.layerTypes[l]! }),
    feedForward: (prefix) => {
      const router = new TopKRouter(weights, `${prefix}.mlp.router.weight`, {
        ...{ kinds, topK, hidden, weights: 'renormalized' },
        bias: `${prefix}.mlp.router.bias`,
      })
      const experts = readExperts(weights, `${prefix}.mlp.experts`, c)
      return new MoeLayer(router, { kinds, topK, ...experts })
    },
  })
}
