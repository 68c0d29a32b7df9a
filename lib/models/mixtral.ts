import { DecoderLayer, runLayers } from '../layers/decoder_layer.ts'
import { Vocabulary } from '../layers/head.ts'
import { MoeLayer } from '../layers/moe.ts'
import type { Step } from '../layers/step.ts'
import { causal, slidingWindow, type VisibilityRules } from '../layers/visibility.ts'
import type { Tensor } from '../native.ts'
import { SoftmaxTopK } from '../routers/softmax_top_k.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import type { ConfigReader, ModelConfig } from './config.ts'

/** Mixtral: plain sparse MoE (arXiv:2401.04088). */
export interface MixtralConfig extends ModelConfig {
  architecture: 'mixtral'
  /** A token sees this many positions, its own included; undefined: all. */
  slidingWindow: number | undefined
}

/** Defaults are those of transformers' MixtralConfig. */
export function readMixtralConfig(c: ConfigReader): MixtralConfig {
  c.only('hidden_act', 'silu')
  c.only('rope_scaling', null)
  c.only('attention_bias', false)
  const hiddenSize = c.int('hidden_size')
  const numHeads = c.int('num_attention_heads')
  const headSize = c.int('head_dim', hiddenSize / numHeads)
  const numKeyValueHeads = c.int('num_key_value_heads', numHeads)
  const numExperts = c.int('num_local_experts', 8)
  const topK = c.int('num_experts_per_tok', 2)
  if (numHeads % numKeyValueHeads !== 0)
    c.invalid('num_key_value_heads', 'a divisor of num_attention_heads')
  if (headSize % 2 !== 0) c.invalid('head_dim', 'even')
  if (topK > numExperts) c.invalid('num_experts_per_tok', 'at most num_local_experts')
  return {
    architecture: 'mixtral',
    vocabSize: c.int('vocab_size'),
    hiddenSize,
    numLayers: c.int('num_hidden_layers'),
    numHeads,
    numKeyValueHeads,
    headSize,
    rotaryDim: headSize,
    ropeTheta: c.positive('rope_theta', 1e6),
    rmsNormEps: c.positive('rms_norm_eps', 1e-5),
    expertSize: c.int('intermediate_size'),
    experts: Array<'ffn'>(numExperts).fill('ffn'),
    topK,
    maxPositionEmbeddings: c.int('max_position_embeddings', 131072),
    tieWordEmbeddings: c.flag('tie_word_embeddings', false),
    bosId: c.ids('bos_token_id')[0],
    eosIds: c.ids('eos_token_id'),
    slidingWindow: c.get('sliding_window') === undefined ? undefined : c.int('sliding_window'),
  }
}

function moeLayer(weights: Weights, c: MixtralConfig, prefix: string): MoeLayer {
  const { hiddenSize: H, expertSize: I, experts, topK } = c
  const name = (e: number, w: string) => `${prefix}.experts.${e}.${w}.weight`
  const router = { kinds: experts, hidden: H, topK }
  return new MoeLayer(new SoftmaxTopK(weights, `${prefix}.gate.weight`, router), {
    kinds: experts,
    topK,
    gateUp: experts.map((_, e) =>
      weights.matrix([rowsOf(name(e, 'w1'), [I, H]), rowsOf(name(e, 'w3'), [I, H])], {
        gateUp: true,
        share: 'expert',
      }),
    ),
    down: experts.map((_, e) =>
      weights.matrix([rowsOf(name(e, 'w2'), [H, I])], { share: 'expert' }),
    ),
    activation: 'swiglu',
  })
}

export class Mixtral implements Architecture {
  readonly config: MixtralConfig
  readonly visibility: VisibilityRules
  readonly #vocabulary: Vocabulary
  readonly layers: DecoderLayer[]

  constructor(config: MixtralConfig, weights: Weights, options: GraphOptions) {
    this.config = config
    const { slidingWindow: window } = config
    this.visibility = { self: window === undefined ? causal : slidingWindow(window) }
    const table = weights.ropeTable(
      options.maxTokens,
      config.rotaryDim,
      options.ropeTheta ?? config.ropeTheta,
    )
    this.#vocabulary = new Vocabulary(weights, config)
    this.layers = Array.from({ length: config.numLayers }, (_, l) => {
      const prefix = `model.layers.${l}`
      const moe = moeLayer(weights, config, `${prefix}.block_sparse_moe`)
      return new DecoderLayer(weights, prefix, config, { ropeTable: table, rule: 'self', moe })
    })
  }

  forward(step: Step): Tensor | undefined {
    const x = runLayers(step, this.#vocabulary.embed(step), this.layers) // [T, H]
    return this.#vocabulary.logits(step, x)
  }
}
