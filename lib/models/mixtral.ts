import { SelfAttention } from '../layers/attention.ts'
import { MoeLayer, swigluExperts } from '../layers/moe.ts'
import { TopKRouter } from '../routers/top_k_router.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture, GraphOptions } from './architecture.ts'
import { decoder, headShape, windowed } from './decoder.ts'
import type { MixtralConfig } from './mixtral_config.ts'

/** Version 4 of transformers keeps a layer's block under `block_sparse_moe`, version 5 under `mlp`. */
function moeLayer(weights: Weights, c: MixtralConfig, layer: string): MoeLayer {
  const { hiddenSize: hidden, expertSize: size, experts: kinds, topK } = c
  const block = weights.has(`${layer}.mlp.gate.weight`) ? 'mlp' : 'block_sparse_moe'
  const choice = { kinds, hidden, topK, weights: 'renormalized' } as const
  const router = new TopKRouter(weights, `${layer}.${block}.gate.weight`, choice)
  const names = { gate: 'w1', up: 'w3', down: 'w2' }
  const shape = { count: kinds.length, hidden, size }
  const experts = swigluExperts(weights, `${layer}.${block}.experts`, shape, names)
  return new MoeLayer(router, { kinds, topK, ...experts })
}

export function mixtral(c: MixtralConfig, weights: Weights, options: GraphOptions): Architecture {
  const ropeTable = weights.ropeTable(options.maxTokens, c.rotaryDim, c.rope)
  const attention = { ...headShape(c), rule: 'self', ropeTable }
  return decoder(c, weights, {
    visibility: windowed(c.slidingWindow),
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix) => moeLayer(weights, c, prefix),
  })
}
