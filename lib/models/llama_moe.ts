import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { MoeLayer, packedExperts } from '../layers/moe.ts'
import { TopKRouter, type TopKRouterOptions } from '../routers/top_k_router.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { type ConfigReader, limits } from './config.ts'
import { configKeys } from './config_keys.ts'
import { decoder, headShape } from './decoder.ts'
import { type DecoderConfig, decoderKeys, readDecoder, readTopK } from './decoder_config.ts'

/** LLaMA-MoE (arXiv:2406.16554): the neurons of Llama 2's blocks, dealt out to experts. */
export interface LlamaMoeConfig extends DecoderConfig {
  architecture: 'llama_moe'
  /** Inner size of the largest expert. */
  expertSize: number
  /** Of each expert, for each layer. */
  expertSizes: number[][]
  experts: 'ffn'[]
  topK: number
  /** A layer of E values with tanh stands in front of the router's projection. */
  twoLayerRouter: boolean
  /** Weights are softmax over the chosen logits, these logits, or 1 without a factor. */
  weights: 'softmax' | 'logits' | 'one'
  /** Of the weights, for each layer. */
  weightFactors: number[]
}

/** The published LlamaMoEConfig class. */
export const llamaMoeKeys = configKeys({
  used: [
    ...decoderKeys,
    'intermediate_size',
    'num_experts',
    'num_selects',
    'size_experts',
    'gate_network',
    'gate_use_softmax',
    'multiply_gate_scores',
    'score_scale_factor',
  ],
  only: {
    hidden_act: ['silu'],
    attention_bias: [false],
    gate_type: ['TopKBalancedNoisyGate'],
    calculator_type: ['UniversalCalculator'],
    add_weight_norm: [false],
  },
  ignored: {
    'training only': [
      ...['gate_use_balance', 'gate_balance_loss_weight', 'gate_add_noise', 'gate_noise_epsilon'],
    ],
    'of another calculator': ['drop_tokens', 'dropped_padding', 'capacity_factor'],
  },
})
type Key = (typeof llamaMoeKeys)['used'][number]

/** `intermediate_size` is the sum of a layer's experts; they share it equally, or as the lists say. */
function readSizes(c: ConfigReader<Key>, layers: number, experts: number): number[][] {
  const sum = c.int('intermediate_size')
  const lists = c.get('size_experts')
  if (lists === undefined) {
    if (sum % experts !== 0) c.invalid('intermediate_size', 'a multiple of num_experts')
    return Array.from({ length: layers }, () => Array<number>(experts).fill(sum / experts))
  }
  const isSize = (v: unknown) =>
    Number.isSafeInteger(v) && (v as number) > 0 && (v as number) <= limits.size
  const isLayer = (v: unknown) => Array.isArray(v) && v.length === experts && v.every(isSize)
  if (!Array.isArray(lists) || lists.length !== layers || !lists.every(isLayer))
    c.invalid('size_experts', `${layers} lists of ${experts} whole numbers above 0`)
  return lists as number[][]
}

function readFactors(c: ConfigReader<Key>, layers: number): number[] {
  if (!Array.isArray(c.get('score_scale_factor')))
    return Array<number>(layers).fill(c.number('score_scale_factor', 1, 0, limits.factor))
  const factors = c.numbers('score_scale_factor')
  if (factors.length !== layers) c.invalid('score_scale_factor', `one number, or ${layers}`)
  return factors
}

function readWeights(
  c: ConfigReader<Key>,
  layers: number,
): Pick<LlamaMoeConfig, 'weights' | 'weightFactors'> {
  const weightFactors = readFactors(c, layers)
  const weights = c.flag('gate_use_softmax', true) ? 'softmax' : 'logits'
  if (c.flag('multiply_gate_scores', true)) return { weights, weightFactors }
  return { weights: 'one', weightFactors: weightFactors.map(() => 1) }
}

export function readLlamaMoeConfig(c: ConfigReader<Key>): LlamaMoeConfig {
  const shared = readDecoder(c, {
    ...{ eps: 1e-6, theta: 10000, maxPositions: 2048 },
    ropeKinds: ['default', 'linear'],
  })
  const chosen = readTopK(c, 'num_selects', c.count('num_experts', 16), 4)
  const expertSizes = readSizes(c, shared.numLayers, chosen.experts.length)
  const network = c.get('gate_network') ?? 'mlp'
  if (network !== 'mlp' && network !== 'linear') c.unsupported('gate_network', '"mlp" or "linear"')
  return {
    architecture: 'llama_moe',
    ...shared,
    ...chosen,
    expertSize: Math.max(...expertSizes.flat()),
    expertSizes,
    twoLayerRouter: network === 'mlp',
    ...readWeights(c, shared.numLayers),
  }
}

const scores: Record<LlamaMoeConfig['weights'], Pick<TopKRouterOptions, 'score' | 'weights'>> = {
  softmax: { weights: 'renormalized' },
  logits: { score: 'identity', weights: 'scores' },
  one: { score: 'one', weights: 'scores' },
}

/** Tensors of an expert have no `.weight` behind its number. All are made as large as the largest. */
function readExperts(weights: Weights, prefix: string, hidden: number, sizes: number[]) {
  const largest = Math.max(...sizes)
  const equal = sizes.every((size) => size === largest)
  const rows = (name: string, e: number, shape: number[], padded: [number, number]) => ({
    ...rowsOf(`${prefix}.weight_${name}.${e}`, shape),
    ...(!equal && { padded }),
  })
  const wide = (name: string, e: number) => rows(name, e, [sizes[e]!, hidden], [largest, hidden])
  const experts = packedExperts(weights, sizes.length, {
    gateUp: (e) => [wide('gate', e), wide('up', e)],
    down: (e) => [rows('down', e, [hidden, sizes[e]!], [hidden, largest])],
  })
  return { ...experts, parameters: 3 * hidden * sizes.reduce((sum, size) => sum + size, 0) }
}

export function llamaMoe(c: LlamaMoeConfig, weights: Weights): Architecture {
  const { hiddenSize: hidden, experts: kinds, topK } = c
  weights.ignore(/\.mlp\.gate\.weight_noise\.weight$/)
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
  }
  const gate = (prefix: string, factor: number): TopKRouter => {
    const name = `${prefix}.gate.gate_network`
    const choice = { kinds, hidden, topK, factor, ...scores[c.weights] }
    if (!c.twoLayerRouter) return new TopKRouter(weights, `${name}.weight`, choice)
    const tanh = { name: `${name}.0.weight`, size: kinds.length }
    return new TopKRouter(weights, `${name}.2.weight`, { ...choice, tanh })
  }
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix, l) => {
      const name = `${prefix}.mlp.calculator.experts`
      const experts = readExperts(weights, name, hidden, c.expertSizes[l]!)
      const router = gate(`${prefix}.mlp`, c.weightFactors[l]!)
      return new MoeLayer(router, { kinds, topK, ...experts })
    },
  })
}
