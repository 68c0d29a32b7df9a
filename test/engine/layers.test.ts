import { afterAll, describe, expect, it } from 'vitest'
import { openDevice } from '../../lib/device.ts'
import { SelfAttention } from '../../lib/layers/attention.ts'
import { Decoder } from '../../lib/layers/decoder.ts'
import { DecoderLayer } from '../../lib/layers/decoder_layer.ts'
import { Vocabulary } from '../../lib/layers/head.ts'
import { MoeLayer } from '../../lib/layers/moe.ts'
import { RmsNorm } from '../../lib/layers/norm.ts'
import type { CacheSpecs, ExpertInfo, Layer, LayerCache, Step } from '../../lib/layers/step.ts'
import { causal, slidingWindow, type VisibilityRules } from '../../lib/layers/visibility.ts'
import { Model } from '../../lib/model.ts'
import type { Architecture } from '../../lib/models/architecture.ts'
import type { ModelConfig } from '../../lib/models/config.ts'
import { headShape } from '../../lib/models/decoder.ts'
import type { Tensor, Weight } from '../../lib/native.ts'
import * as ops from '../../lib/ops/index.ts'
import { countParameters } from '../../lib/parameters.ts'
import type { Routing } from '../../lib/routers/router.ts'
import { TopKRouter } from '../../lib/routers/top_k_router.ts'
import { RandomWeights } from '../../lib/weights/random_weights.ts'
import type { RopeSpec } from '../../lib/weights/rope.ts'
import { rowsOf, type Weights } from '../../lib/weights/weights.ts'
import { failure } from '../support/files.ts'
import { range } from '../support/golden.ts'

const hidden = 32
const config: ModelConfig = {
  architecture: 'mixtral',
  ...{ vocabSize: 97, hiddenSize: hidden, numLayers: 4, numHeads: 4, numKeyValueHeads: 2 },
  ...{ headSize: 8, rotaryDim: 8, rmsNormEps: 1e-5, expertSize: 16 },
  rope: { kind: 'default', theta: 1e4 },
  ...{ experts: ['ffn', 'ffn', 'ffn', 'ffn'], topK: 2, maxPositionEmbeddings: 512 },
  ...{ tieWordEmbeddings: false, bosId: undefined, eosIds: [] },
}

/** @param share `dense` leaves its experts out of the count */
function moeLayer(
  weights: Weights,
  [experts, topK, size]: [number, number, number],
  share: 'expert' | 'dense' = 'expert',
): MoeLayer {
  const kinds = Array<'ffn'>(experts).fill('ffn')
  const matrix = (name: string, shape: number[], gateUp = false) =>
    weights.matrix([rowsOf(name, shape)], { gateUp, share })
  return new MoeLayer(
    new TopKRouter(weights, 'gate', { kinds, hidden, topK, weights: 'renormalized' }),
    {
      ...{ kinds, topK, activation: 'swiglu' },
      gateUp: kinds.map(() => matrix('w1.weight', [2 * size, hidden], true)),
      down: kinds.map(() => matrix('w2.weight', [hidden, size])),
    },
  )
}

/** Neither cache nor router. */
class Dense implements Layer {
  readonly caches = {}
  readonly #weight: Weight

  constructor(weights: Weights) {
    this.#weight = weights.matrix([rowsOf('dense.weight', [hidden, hidden])])
  }

  forward({ plan }: Step, x: Tensor): { out: Tensor } {
    return ops.linear(plan, { x, weight: this.#weight, residual: x })
  }
}

/** Two decoder layers as one: two caches, the routing and experts of the second. */
class Twice implements Layer {
  readonly caches: CacheSpecs
  readonly experts: ExpertInfo | undefined
  readonly #parts: [DecoderLayer, DecoderLayer]

  constructor(...parts: [DecoderLayer, DecoderLayer]) {
    this.#parts = parts
    const later = Object.entries(parts[1].caches).map(([name, spec]) => [`later ${name}`, spec])
    this.caches = { ...parts[0].caches, ...Object.fromEntries(later) }
    this.experts = parts[1].experts
  }

  forward(step: Step, x: Tensor, cache: LayerCache, previous?: Routing) {
    const [first, second] = this.#parts
    const plain = { ...step, choice: undefined } // which is of the second's experts
    const { out, routing } = first.forward(plain, x, cache, previous)
    const later = { keys: cache['later keys']!, values: cache['later values']! }
    return second.forward(step, out, later, routing)
  }
}

/** A layer of 4 experts, a dense one, a layer of 6 experts with other heads, and one that is two. */
function mixed(weights: Weights, visibility: VisibilityRules, rope: RopeSpec): Architecture {
  const norm = (name: string) => new RmsNorm(weights, name, hidden, 1e-5)
  const vocabulary = new Vocabulary(weights, config, norm('model.norm'))
  const ropeTable = weights.ropeTable(8, rope)
  const decoder = (rule: string, feedForward: MoeLayer, heads = 4) =>
    new DecoderLayer({
      inputNorm: norm('input_layernorm'),
      attention: new SelfAttention(weights, 'self_attn', {
        ...{ ...headShape(config), heads, ropeTable, rule },
      }),
      postNorm: norm('post_attention_layernorm'),
      feedForward,
    })
  const layers = [
    decoder('full', moeLayer(weights, [4, 2, 16])),
    new Dense(weights),
    decoder('window', moeLayer(weights, [6, 1, 8]), 2),
    new Twice(
      decoder('full', moeLayer(weights, [3, 1, 8], 'dense')),
      decoder('window', moeLayer(weights, [5, 3, 8])),
    ),
  ]
  return new Decoder({ ...config, rope }, { vocabulary, visibility, layers })
}

const models: Model[] = []
afterAll(() => Promise.all(models.map((model) => model.dispose())))

async function make(visibility: VisibilityRules, rope = config.rope): Promise<Model> {
  const weights = new RandomWeights('f32', 1)
  const graph = mixed(weights, visibility, rope)
  await weights.load()
  const model = new Model({
    ...{ graph, device: openDevice('cpu'), dtype: 'f32', threads: 2, deterministic: false },
    ...{ numBlocks: 32, maxTokens: 1024, tokenizer: undefined, stopIds: [] },
    ...{ checkpointDefaults: {}, tensors: weights.tensors },
    parameters: countParameters(graph.layers, weights),
    weights: weights.info,
  })
  models.push(model)
  return model
}

describe('an architecture whose layers differ', async () => {
  const window = slidingWindow(5)
  const model = await make({ full: causal, window })
  const ids = range(70).map((i) => (i * i * 7 + 3) % 97)
  const all = { logits: 'all', hiddenStates: true, routing: true } as const

  it('says of each layer how it routed', async () => {
    const { routing, hiddenStates } = await model.forward(ids, all)
    const widths = routing!.map((r) => r && [r.expertIds.length / 70, r.logits.length / 70])
    expect(widths).toEqual([[2, 4], undefined, [1, 6], [3, 5]])
    expect(hiddenStates!.map(({ length }) => length)).toEqual(Array(4).fill(70 * hidden))
    const generated = await model.generate(ids, { maxNewTokens: 4, stopIds: [], routing: true })
    expect(generated.routing!.map((r) => r && r.weights.length / 73)).toEqual([2, undefined, 1, 3])
  })

  it('gives the same bits in chunks, by itself or beside others', async () => {
    const whole = await model.forward(ids, all)
    using sequence = model.sequence()
    const [head] = await Promise.all([sequence.forward(ids.slice(0, 33), all), model.forward(ids)])
    const tail = await sequence.forward(ids.slice(33), all)
    expect(Float32Array.of(...head.logits, ...tail.logits)).toEqual(whole.logits)
    const options = { maxNewTokens: 5, stopIds: [] }
    expect((await sequence.generate([1], options)).ids).toEqual(
      (await model.generate([...ids, 1], options)).ids,
    )
  })

  it('attends in each layer by the rule of that layer', async () => {
    const [both, full, narrow] = await Promise.all([
      model.forward(ids, all),
      (await make({ full: causal, window: causal })).forward(ids, all),
      (await make({ full: window, window })).forward(ids, all),
    ])
    const rows = (of: typeof both, layer: number, to = 70) =>
      of.hiddenStates![layer]!.subarray(0, to * hidden)
    expect(rows(both, 0)).toEqual(rows(full, 0))
    expect(rows(both, 0)).not.toEqual(rows(narrow, 0))
    expect(rows(both, 2)).not.toEqual(rows(full, 2))
    expect(rows(both, 2)).not.toEqual(rows(narrow, 2))
    for (const layer of range(4)) expect(rows(both, layer, 5)).toEqual(rows(full, layer, 5))
  })

  it('counts the parameters that a token uses layer by layer', () => {
    const { total, activePerToken } = model.parameters
    const unused = (experts: number, size: number) => experts * 3 * size * hidden
    const embedding = 97 * hidden
    expect(total - activePerToken).toBe(
      embedding + unused(4 - 2, 16) + unused(6 - 1, 8) + unused(5 - 3, 8),
    )
  })
})

it('the width of the block table does not change a bit', async () => {
  const ids = range(300).map((i) => (i * 5 + 1) % 97)
  const model = await make({ full: causal, window: slidingWindow(40) })
  using sequence = model.sequence()
  await sequence.forward(ids.slice(0, 250), { logits: 'none' }) // a table of 8 blocks
  const [long, short] = await Promise.all([sequence.forward(ids.slice(250)), model.forward([1])])
  expect(long.logits).toEqual((await model.forward(ids)).logits)
  expect(short.logits).toEqual((await model.forward([1])).logits)
})

it('a text ends where the positions of longrope do', async () => {
  const rope: RopeSpec = {
    ...{ kind: 'longrope', theta: 1e4, original: 40, short: [1, 1, 2, 4], long: [2, 4, 8, 16] },
    ...{ shortAttention: 1, longAttention: 1.2 },
  }
  const model = await make({ full: causal, window: causal }, rope)
  const ids = range(40)
  expect((await model.forward([ids, ids])).length).toBe(2)
  const { finishReason, ids: generated } = await model.generate(ids.slice(0, 30), { stopIds: [] })
  expect([finishReason, generated.length]).toEqual(['length', 11])
  using sequence = model.sequence()
  await sequence.forward(ids.slice(0, 30))
  for (const call of [
    () => model.forward([...ids, 1]),
    () => model.generate([...ids, 1]),
    () => sequence.forward(ids.slice(0, 11)),
  ]) {
    const error = await failure(call)
    expect(error).toMatchObject({ code: 'ERR_MOE_CONTEXT_FULL' })
    expect(error.message).toMatch(/original_max_position_embeddings of config.json\), got (11|41)$/)
  }
})
