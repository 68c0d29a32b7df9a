import { SelfAttention } from '../layers/attention.ts'
import { Vocabulary } from '../layers/head.ts'
import { MoeLayer } from '../layers/moe.ts'
import type { Tensor } from '../native.ts'
import * as ops from '../ops/index.ts'
import type { Routing } from '../routers/router.ts'
import { SoftmaxTopK } from '../routers/softmax_top_k.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions, LayerCache, Step } from './architecture.ts'
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
    stateWidths: [],
    maxPositionEmbeddings: c.int('max_position_embeddings', 131072),
    tieWordEmbeddings: c.flag('tie_word_embeddings', false),
    bosId: c.ids('bos_token_id')[0],
    eosIds: c.ids('eos_token_id'),
    slidingWindow: c.get('sliding_window') === undefined ? undefined : c.int('sliding_window'),
  }
}

class MixtralLayer {
  readonly #inputNorm: Tensor
  readonly #attention: SelfAttention
  readonly #postNorm: Tensor
  readonly #moe: MoeLayer
  readonly #eps: number

  constructor(weights: Weights, c: MixtralConfig, prefix: string, ropeTable: Tensor) {
    const { hiddenSize: H, expertSize: I } = c
    const moe = `${prefix}.block_sparse_moe`
    const expert = (e: number) => `${moe}.experts.${e}`
    this.#eps = c.rmsNormEps
    this.#inputNorm = weights.vector(`${prefix}.input_layernorm.weight`, [H])
    this.#postNorm = weights.vector(`${prefix}.post_attention_layernorm.weight`, [H])
    const heads = { heads: c.numHeads, keyValueHeads: c.numKeyValueHeads, headSize: c.headSize }
    this.#attention = new SelfAttention(
      weights,
      `${prefix}.self_attn`,
      { hidden: H, ...heads },
      ropeTable,
    )
    const router = { experts: c.experts.length, hidden: H, topK: c.topK }
    this.#moe = new MoeLayer(new SoftmaxTopK(weights, `${moe}.gate.weight`, router), {
      kinds: c.experts,
      up: c.experts.map((_, e) =>
        weights.matrix(
          [rowsOf(`${expert(e)}.w1.weight`, [I, H]), rowsOf(`${expert(e)}.w3.weight`, [I, H])],
          {
            layout: 'gate_up',
            share: 'expert',
          },
        ),
      ),
      down: c.experts.map((_, e) =>
        weights.matrix([rowsOf(`${expert(e)}.w2.weight`, [H, I])], { share: 'expert' }),
      ),
      activation: 'swiglu',
    })
  }

  forward(step: Step, x: Tensor, cache: LayerCache): { out: Tensor; routing: Routing } {
    const n = ops.rmsNorm(step.plan, x, this.#inputNorm, this.#eps, step.dtype) // [T, H]
    const h = this.#attention.forward(step, n, x, cache) //                        [T, H]
    const m = ops.rmsNorm(step.plan, h, this.#postNorm, this.#eps, step.dtype) //  [T, H]
    return this.#moe.forward(step, m, h)
  }
}

export class Mixtral implements Architecture {
  readonly config: MixtralConfig
  readonly #vocabulary: Vocabulary
  readonly #layers: MixtralLayer[]

  constructor(config: MixtralConfig, weights: Weights, options: GraphOptions) {
    this.config = config
    const table = weights.ropeTable(
      options.maxTokens,
      config.rotaryDim,
      options.ropeTheta ?? config.ropeTheta,
    )
    this.#vocabulary = new Vocabulary(weights, config)
    this.#layers = Array.from(
      { length: config.numLayers },
      (_, l) => new MixtralLayer(weights, config, `model.layers.${l}`, table),
    )
  }

  firstVisible(position: number): number {
    return this.config.slidingWindow ? Math.max(0, position - this.config.slidingWindow + 1) : 0
  }

  forward(step: Step): Tensor | undefined {
    let x = this.#vocabulary.embed(step) // [T, H]
    for (const [l, layer] of this.#layers.entries()) {
      x = layer.forward(step, x, step.cache[l]!).out
      step.trace.hiddenStates.push(x)
    }
    return this.#vocabulary.logits(step, x)
  }
}
