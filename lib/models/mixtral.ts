import { DecoderLayer, runLayers } from '../layers/decoder_layer.ts'
import { Vocabulary } from '../layers/head.ts'
import { MoeLayer } from '../layers/moe.ts'
import type { Step } from '../layers/step.ts'
import { causal, slidingWindow, type VisibilityRules } from '../layers/visibility.ts'
import type { Tensor } from '../native.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import { rowsOf, slabOf, type Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import type { MixtralConfig } from './mixtral_config.ts'

/**
 * One layer's block, as either major version of transformers saves it: 4 has matrices for each expert under
 * `block_sparse_moe`, 5 has those of all experts in two tensors under `mlp`.
 */
function moeLayer(weights: Weights, c: MixtralConfig, layer: string): MoeLayer {
  const { hiddenSize: H, expertSize: I, experts: kinds, topK } = c
  const E = kinds.length
  const block = weights.has(`${layer}.mlp.gate.weight`) ? 'mlp' : 'block_sparse_moe'
  const experts = `${layer}.${block}.experts`
  const [gateUp, down] = ['gate_up_proj', 'down_proj'].map((name) => `${experts}.${name}`)
  const one = (e: number, w: string, shape: number[]) =>
    rowsOf(`${experts}.${e}.${w}.weight`, shape)
  const rows = weights.has(gateUp!)
    ? {
        gateUp: (e: number) => [slabOf(gateUp!, [E, 2 * I, H], e)],
        down: (e: number) => [slabOf(down!, [E, H, I], e)],
      }
    : {
        gateUp: (e: number) => [one(e, 'w1', [I, H]), one(e, 'w3', [I, H])],
        down: (e: number) => [one(e, 'w2', [H, I])],
      }
  const router = { kinds, hidden: H, topK, weights: 'renormalized' } as const
  return new MoeLayer(new TopKRouter(weights, `${layer}.${block}.gate.weight`, router), {
    kinds,
    topK,
    gateUp: kinds.map((_, e) => weights.matrix(rows.gateUp(e), { gateUp: true, share: 'expert' })),
    down: kinds.map((_, e) => weights.matrix(rows.down(e), { share: 'expert' })),
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
      const moe = moeLayer(weights, config, prefix)
      return new DecoderLayer(weights, prefix, config, { ropeTable: table, rule: 'self', moe })
    })
  }

  forward(step: Step): Tensor | undefined {
    const x = runLayers(step, this.#vocabulary.embed(step), this.layers) // [T, H]
    return this.#vocabulary.logits(step, x)
  }
}
