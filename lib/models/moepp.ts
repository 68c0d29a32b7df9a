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
import type { MoePlusPlusConfig } from './moepp_config.ts'

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
    const table = weights.ropeTable(options.maxTokens, config.rotaryDim, config.rope)
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
