import { DecoderLayer, runLayers } from '../layers/decoder_layer.ts'
import { Vocabulary } from '../layers/head.ts'
import { MoeLayer } from '../layers/moe.ts'
import type { Step } from '../layers/step.ts'
import { causal } from '../layers/visibility.ts'
import type { Tensor } from '../native.ts'
import type { ExpertKind } from '../ops/index.ts'
import { ResidualRouter } from '../routers/residual_router.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import { ConfigReader, type ModelConfig } from './config.ts'

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
  /** Linear position scaling divides positions. */
  positionScale: number
}

/** Constants of the published code: they are in no config. */
const topK = 2
const numConstants = 2

function readRopeScaling(c: ConfigReader): { thetaFactor: number; positionScale: number } {
  const scaling = c.get('rope_scaling')
  if (scaling === undefined) return { thetaFactor: 1, positionScale: 1 }
  if (typeof scaling !== 'object') c.invalid('rope_scaling', '{ type, factor } or null')
  const factor = new ConfigReader(
    scaling as Record<string, unknown>,
    'config.json: rope_scaling',
  ).positive('factor')
  const { type } = scaling as Record<string, unknown>
  if (factor <= 1) c.invalid('rope_scaling', 'of a factor above 1')
  if (type === 'linear') return { thetaFactor: 1, positionScale: 1 / factor }
  // The published `ntk` is theta times the factor, not the usual exponent.
  if (type === 'ntk') return { thetaFactor: factor, positionScale: 1 }
  // The published `dynamic` depends on the longest text the process has seen.
  return c.unsupported('rope_scaling', 'of type "linear" or "ntk"')
}

/** Defaults are those of the published MoeConfig class, which differ from the released model's values. */
export function readMoePlusPlusConfig(c: ConfigReader): MoePlusPlusConfig {
  const numExperts = c.get('num_experts') ?? [32]
  if (
    !Array.isArray(numExperts) ||
    !Number.isSafeInteger(numExperts[0]) ||
    numExperts[0] < numConstants + 3
  )
    c.invalid(
      'num_experts',
      `a list whose first number, of all experts, is at least ${numConstants + 3}`,
    )
  c.only('moe_expert_interval', 1)
  const { thetaFactor, positionScale } = readRopeScaling(c)
  const hiddenSize = c.int('hidden_size', 4096)
  const numHeads = c.int('num_attention_heads', 32)
  const numKeyValueHeads = c.int('num_key_value_heads', numHeads)
  if (hiddenSize % (2 * numHeads) !== 0)
    c.invalid('hidden_size', 'an even multiple of num_attention_heads')
  if (numHeads % numKeyValueHeads !== 0)
    c.invalid('num_key_value_heads', 'a divisor of num_attention_heads')
  const mixtralGating = c.flag('moe_use_mixtral_gating', false)
  const doubled = !mixtralGating && !c.flag('moe_feature_no_mul_topk', false)
  const normStd = c.positive('moe_gate_norm_std', 1)
  return {
    architecture: 'moepp',
    vocabSize: c.int('vocab_size', 32000),
    hiddenSize,
    numLayers: c.int('num_hidden_layers', 32),
    numHeads,
    numKeyValueHeads,
    headSize: hiddenSize / numHeads,
    rotaryDim: hiddenSize / numHeads,
    ropeTheta: c.positive('rope_theta', 10000) * thetaFactor,
    rmsNormEps: c.positive('rms_norm_eps', 1e-6),
    expertSize: c.int('intermediate_size', 11008),
    experts: [
      ...Array<'ffn'>((numExperts as number[])[0]! - numConstants - 2).fill('ffn'),
      ...Array<'constant'>(numConstants).fill('constant'),
      'copy',
      'zero',
    ],
    topK,
    maxPositionEmbeddings: c.int('max_position_embeddings', 2048),
    tieWordEmbeddings: c.flag('tie_word_embeddings', false),
    bosId: c.get('bos_token_id') === undefined ? 1 : c.ids('bos_token_id')[0],
    eosIds: c.get('eos_token_id') === undefined ? [2] : c.ids('eos_token_id'),
    twoLayerRouter: c.flag('moe_2layer_gate', true),
    logitsNormStd: c.flag('moe_use_logits_norm', false) ? normStd : 0,
    gating: mixtralGating ? 'mixtral' : 'standard',
    inputScale: doubled ? topK : 1,
    positionScale,
  }
}

function moeLayer(weights: Weights, c: MoePlusPlusConfig, prefix: string): MoeLayer {
  const { hiddenSize: H, expertSize: I, experts } = c
  const router = new ResidualRouter(weights, `${prefix}.gate`, {
    kinds: experts,
    hidden: H,
    topK: c.topK,
    twoLayers: c.twoLayerRouter,
    normStd: c.logitsNormStd,
    givesShare: c.gating === 'standard' ? experts.map((kind) => kind === 'zero') : undefined,
  })
  const of = (kind: ExpertKind) =>
    experts.flatMap((k, e) => (k === kind ? [`${prefix}.experts.experts.${e}`] : []))
  return new MoeLayer(router, {
    kinds: experts,
    topK: c.topK,
    gateUp: of('ffn').map((name) =>
      weights.matrix([rowsOf(`${name}.up_proj.weight`, [2 * I, H])], {
        gateUp: true,
        share: 'expert',
      }),
    ),
    down: of('ffn').map((name) =>
      weights.matrix([rowsOf(`${name}.down_proj.weight`, [H, I])], { share: 'expert' }),
    ),
    activation: 'swiglu', // whatever hidden_act says, as published
    constants: {
      constants: weights.stack(
        of('constant').map((name) => `${name}.constant`),
        [H],
      ),
      gates: weights.stack(
        of('constant').map((name) => `${name}.wg.weight`),
        [2, H],
      ),
    },
    inputScale: c.inputScale,
  })
}

export class MoePlusPlus implements Architecture {
  readonly config: MoePlusPlusConfig
  readonly visibility = { self: causal }
  readonly #vocabulary: Vocabulary
  readonly layers: DecoderLayer[]

  constructor(config: MoePlusPlusConfig, weights: Weights, options: GraphOptions) {
    this.config = config
    const { rotaryDim, positionScale } = config
    const theta = options.ropeTheta ?? config.ropeTheta
    const table = weights.ropeTable(options.maxTokens, rotaryDim, theta, { positionScale })
    this.#vocabulary = new Vocabulary(weights, config)
    this.layers = Array.from({ length: config.numLayers }, (_, l) => {
      const prefix = `model.layers.${l}`
      const moe = moeLayer(weights, config, `${prefix}.mlp.moe`)
      return new DecoderLayer(weights, prefix, config, { ropeTable: table, rule: 'self', moe })
    })
  }

  forward(step: Step): Tensor | undefined {
    const x = runLayers(step, this.#vocabulary.embed(step), this.layers) // [T, H]
    return this.#vocabulary.logits(step, x)
  }
}
