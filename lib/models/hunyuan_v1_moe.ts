import { type AttentionOptions, SelfAttention } from '../layers/attention.ts'
import { DenseLayer } from '../layers/dense.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import { decoder, headShape, routedLayer } from './decoder.ts'
import type { HunyuanV1MoeConfig } from './hunyuan_v1_moe_config.ts'

export function hunyuanV1Moe(c: HunyuanV1MoeConfig, weights: Weights): Architecture {
  const { attentionBias: bias, hiddenSize: hidden, expertSize: size } = c
  const attention: AttentionOptions = {
    ...headShape(c),
    rule: 'self',
    ropeTable: weights.ropeTable(c.rotaryDim, c.rope),
    names: {
      ...({ qkv: ['q_proj', 'k_proj', 'v_proj'], out: 'o_proj' } as const),
      norms: ['query_layernorm', 'key_layernorm'],
    },
    bias: { qkv: bias, out: bias },
    qkNorm: { over: 'rotated head', eps: c.rmsNormEps },
  }
  return decoder(c, weights, {
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward(prefix) {
      const mlp = `${prefix}.mlp`
      const shared = new DenseLayer(weights, `${mlp}.shared_mlp`, { hidden, size })
      return routedLayer(weights, mlp, c, { weights: 'renormalized' }, shared, 'gate.wg')
    },
  })
}
