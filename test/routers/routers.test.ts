import type { ExpertKind } from '../../lib/ops/index.ts'
import { AttentionRouter } from '../../lib/routers/attention_router.ts'
import { ResidualRouter } from '../../lib/routers/residual_router.ts'
import { TopKRouter, type TopKRouterOptions } from '../../lib/routers/top_k_router.ts'
import { type RouterCase, routerContract } from './contract.ts'
import { make } from './made_weights.ts'

const kinds = Array<ExpertKind>(12).fill('ffn')
const shape = { kinds, hidden: 24 }
const size = { experts: 12, hidden: 24 }

type TopKCase = Omit<TopKRouterOptions, 'kinds' | 'hidden'> & {
  sum: RouterCase['sum']
  biased?: boolean
}
const topKRouters: { [name: string]: TopKCase } = {
  'softmax top-1': { topK: 1, weights: 'renormalized', sum: 1 },
  'softmax top-2': { topK: 2, weights: 'renormalized', sum: 1 },
  'softmax top-3': { topK: 3, weights: 'renormalized', sum: 1 },
  'full softmax top-1': { topK: 1, weights: 'scores', sum: 'at most 1' },
  'full softmax top-3, factor': { topK: 3, weights: 'scores', factor: 16, sum: 'at most 1' },
  'logits with a bias': { topK: 4, weights: 'renormalized', bias: 'gate.bias', sum: 1 },
  'softmax behind tanh': {
    ...{ topK: 2, weights: 'renormalized', tanh: { name: 'gate.0', size: 12 }, sum: 1 },
  },
  'groups by their best': {
    ...{ topK: 3, weights: 'scores', groups: { count: 4, kept: 2, score: 'max' } },
    ...{ sum: 'at most 1', biased: true },
  },
  'sigmoid with a choice bias and groups': {
    ...{ topK: 3, score: 'sigmoid', weights: 'renormalized', factor: 2.5, choiceBias: 'gate.c' },
    ...{ groups: { count: 3, kept: 2, score: 'top2' }, sum: 1, biased: true },
  },
  'sigmoid scores': { topK: 3, score: 'sigmoid', weights: 'scores', sum: 'at most K' },
  'softmax with a choice bias': {
    ...{ topK: 4, weights: 'scores', factor: 6, choiceBias: 'gate.c', sum: 'at most 1' },
    biased: true,
  },
  'no weights': { topK: 2, score: 'one', weights: 'scores', sum: 'free' },
  'logits as weights': { topK: 2, score: 'identity', weights: 'scores', sum: 'free' },
  sparsemixer: { topK: 2, score: 'sparsemixer', weights: 'scores', jitter: 0.01, sum: 'at most K' },
}
for (const [name, { sum, biased = false, ...options }] of Object.entries(topKRouters))
  routerContract({
    ...{ name, ...size, topK: options.topK, factor: options.factor ?? 1 },
    ...{ sum, biased, carries: false },
    make: (zero) => make(zero, (w) => new TopKRouter(w, 'gate', { ...shape, ...options })),
  })

for (const renormalize of [true, false])
  routerContract({
    name: `attention router, ${renormalize ? 'renormalised' : 'plain softmax'}`,
    ...{ ...size, topK: 2, sum: renormalize ? 1 : 'at most 1', carries: false },
    make: (zero) =>
      make(zero, (w) => new AttentionRouter(w, 'gate', { ...shape, topK: 2, renormalize })),
  })

for (const twoLayers of [false, true])
  for (const normStd of [0, 1.7])
    for (const givesShare of [undefined, Array.from({ length: 12 }, (_, e) => e === 11)])
      routerContract({
        name: `residual router, ${twoLayers ? 'two layers' : 'one layer'}, norm ${normStd}, ${givesShare ? 'standard' : 'mixtral'} gating`,
        ...{ ...size, topK: 2, sum: 1, carries: true },
        make: (zero) =>
          make(
            zero,
            (w) =>
              new ResidualRouter(w, 'gate', { ...shape, topK: 2, twoLayers, normStd, givesShare }),
          ),
      })
