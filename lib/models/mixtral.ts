import { SelfAttention } from '../layers/attention.ts'
import { MoeLayer, swigluExperts } from '../layers/moe.ts'
import { TopKRouter, type TopKRouterOptions } from '../routers/top_k_router.ts'
import type { Weights } from '../weights/weights.ts'
import type { Architecture } from './architecture.ts'
import type { ModelConfig } from './config.ts'
import { decoder, headShape, windowed } from './decoder.ts'
import type { MixtralConfig } from './mixtral_config.ts'

/**
 * Version 4 of transformers keeps a layer's block under `block_sparse_moe`, version 5 under `mlp`, where Phi-3.5-MoE's
 * gate is a `router`.
 *
 * @param choice how the router of a block of this prefix chooses
 */
export function mixtralLayer(
  weights: Weights,
  c: ModelConfig,
  layer: string,
  choice: (block: string) => Omit<TopKRouterOptions, 'kinds' | 'hidden' | 'topK'>,
): MoeLayer {
  const { hiddenSize: hidden, expertSize: size, experts: kinds, topK } = c
  const named = (name: string) => weights.has(`${layer}.mlp.${name}.weight`)
  const gate = named('router') && c.architecture === 'phimoe' ? 'router' : 'gate'
  const block = `${layer}.${named(gate) ? 'mlp' : 'block_sparse_moe'}`
  const options = { kinds, hidden, topK, ...choice(block) }
  const router = new TopKRouter(weights, `${block}.${gate}.weight`, options)
  const names = { gate: 'w1', up: 'w3', down: 'w2' }
  const shape = { count: kinds.length, hidden, size }
  const experts = swigluExperts(weights, `${block}.experts`, shape, names)
  return new MoeLayer(router, { kinds, topK, ...experts })
}

export function mixtral(c: MixtralConfig, weights: Weights): Architecture {
  const ropeTable = weights.ropeTable(c.rotaryDim, c.rope)
  const attention = { ...headShape(c), rule: 'self', ropeTable }
  return decoder(c, weights, {
    visibility: windowed(c.slidingWindow),
    attention: (prefix) => new SelfAttention(weights, prefix, attention),
    feedForward: (prefix) => mixtralLayer(weights, c, prefix, () => ({ weights: 'renormalized' })),
  })
}
