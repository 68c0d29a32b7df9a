import { SelfAttention } from '../layers/attention.ts'
import { MoeLayer } from '../layers/moe.ts'
import type { ExpertKind } from '../ops/index.ts'
import { ResidualRouter } from '../routers/residual_router.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { decoder, headShape } from './decoder.ts'
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

export function moePlusPlus(c: MoePlusPlusConfig, weights: Weights): Architecture {
  const ropeTable = weights.ropeTable(c.rotaryDim, c.rope)
  const attention = { ...headShape(c), rule: 'self', ropeTable }
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix) => moeLayer(weights, c, `${prefix}.mlp.moe`),
  })
}
