import { describe, expect, it } from 'vitest'
import { resolveExperts } from '../../lib/engine/experts.ts'
import {
  type ExpertOptions,
  type ForwardResult,
  type LayerExpertOptions,
  loadModel,
  type Model,
  type RoutingStats,
} from '../../lib/index.ts'
import type { LayerInfo } from '../../lib/layers/step.ts'
import { failure } from '../support/files.ts'
import { fixture, range, root } from '../support/golden.ts'
import { testDevice, useModel } from '../support/use_model.ts'

const ask = { logits: 'all', hiddenStates: true, routing: true } as const
const text = (n: number, seed: number): number[] =>
  range(n).map((i) => (i * i * 7 + i * seed + 3) % 80)

/** Experts that each layer chose, over all tokens. */
const chosen = ({ routing }: Pick<ForwardResult, 'routing'>): Set<number>[] =>
  routing!.map((layer) => new Set(layer?.expertIds))

/** Choices of these results, counted by hand. */
function count(model: Model, results: Pick<ForwardResult, 'routing'>[]): number[][] {
  const layers = range(model.config.numLayers)
  const counts = layers.map(() => Array<number>(model.config.experts.length).fill(0))
  for (const { routing } of results)
    for (const [l, layer] of routing!.entries())
      for (const id of layer!.expertIds) counts[l]![id]!++
  return counts
}
const countsOf = ({ layers }: RoutingStats) => layers.map((one) => Array.from(one!.tokensPerExpert))

const checkpoints: [string, string][] = [
  ['mixtral', fixture('golden/mixtral/window-f32')],
  ['llama_moe', fixture('golden/llama_moe/linear-gate-f32')],
  ['yuan', fixture('golden/yuan/tiny-d-variant')],
  ['moepp', fixture('golden/moepp/base-f32')],
]

describe.each(checkpoints)('experts under the hand of a caller: %s', (_, dir) => {
  const model = useModel(dir, { maxTokens: 512 })
  const kinds = () => model().config.experts
  const K = () => model().config.topK
  const forward = (ids: number[], experts?: LayerExpertOptions) =>
    model().forward(ids, { ...ask, experts })

  it('what changes nothing gives the same bits', async () => {
    const ids = text(21, 5)
    const plain = await forward(ids)
    const E = kinds().length
    const nothing: LayerExpertOptions[] = [
      {},
      { mask: Array(E).fill(true), bias: Array(E).fill(0), force: [] },
      range(model().config.numLayers).map(() => undefined),
    ]
    for (const experts of nothing) expect(await forward(ids, experts)).toEqual(plain)
  })

  it('a mask, a bias and force do what they say, in the layers that are named', async () => {
    const ids = text(30, 3)
    const plain = await forward(ids)
    const [first, ...rest] = range(model().config.numLayers)
    const usual = plain.routing![0]!.expertIds[0]!
    const only = (one: ExpertOptions) => [one, ...rest.map(() => undefined)]
    const masked = await forward(ids, only({ mask: kinds().map((_, e) => e !== usual) }))
    expect(chosen(masked)[first!]!.has(usual)).toBe(false)
    const favoured = await forward(
      ids,
      only({ bias: kinds().map((_, e) => (e === usual ? 1e5 : 0)) }),
    )
    for (const t of range(30)) expect(favoured.routing![0]!.expertIds[t * K()]).toBe(usual)
    const last = kinds().length - 1
    const forced = await forward(ids, only({ force: [last] }))
    for (const t of range(30)) expect(forced.routing![0]!.expertIds[t * K()]).toBe(last)
    // The first layer's logits are what they were; only the choice is another.
    expect(forced.routing![0]!.logits).toEqual(plain.routing![0]!.logits)
    expect(forced.logits).not.toEqual(plain.logits)
  })

  it('forced experts weigh what their logits say', async () => {
    const ids = text(12, 9)
    const plain = await forward(ids)
    const forced = await forward(ids, { force: range(K()) })
    const { expertIds, weights } = forced.routing![0]!
    for (const t of range(12)) {
      const order = Array.from(expertIds.subarray(t * K(), (t + 1) * K()))
      expect(new Set(order)).toEqual(new Set(range(K())))
      const z = order.map((e) => plain.routing![0]!.logits[t * kinds().length + e]!)
      expect(z).toEqual([...z].sort((a, b) => b - a))
    }
    expect(weights.every(Number.isFinite)).toBe(true)
  })

  it('requests of one batch do not touch each other', async () => {
    const mask = kinds().map((_, e) => e !== 1)
    const requests: LayerExpertOptions[] = [{}, { mask }, { force: [2] }, { mask, force: [0] }]
    const prompts = requests.map((_, i) => text(9 + i, 4 + i))
    const alone: ForwardResult[] = []
    for (const [i, experts] of requests.entries()) alone.push(await forward(prompts[i]!, experts))
    const together = await Promise.all(requests.map((experts, i) => forward(prompts[i]!, experts)))
    for (const [i, one] of together.entries()) {
      expect(one.routing!.map((layer) => layer!.expertIds)).toEqual(
        alone[i]!.routing!.map((layer) => layer!.expertIds),
      )
      if (testDevice === 'cpu') expect(one).toEqual(alone[i])
    }
  })

  it('a generation keeps to it, and a sequence call by call', async () => {
    const mask = kinds().map((_, e) => e > 0)
    const options = { maxNewTokens: 6, stopIds: [], routing: true, experts: { mask } }
    const written = await model().generate(text(5, 2), options)
    for (const layer of chosen(written)) expect(layer.has(0)).toBe(false)
    const plain = { ...options, experts: undefined }
    const together = await Promise.all([
      model().generate(text(5, 2), options),
      model().generate(text(5, 2), plain),
    ])
    expect(together[0].ids).toEqual(written.ids)
    expect(together[1].ids).toEqual((await model().generate(text(5, 2), plain)).ids)
    using sequence = model().sequence()
    const first = await sequence.forward(text(5, 2), { ...ask, experts: { mask } })
    for (const layer of chosen(first)) expect(layer.has(0)).toBe(false)
    const second = await sequence.generate([7], { ...options, experts: { force: [0] } })
    for (const layer of chosen(second)) expect(layer.has(0)).toBe(true)
  })

  it('a token follows the call that brought it, also where it is computed again', async () => {
    const mask = kinds().map((_, e) => e > 0)
    const ids = text(70, 8)
    const after = async (cut: boolean) => {
      using sequence = model().sequence()
      await sequence.forward(ids.slice(0, 40), { experts: { mask } })
      if (cut) await sequence.forward(ids.slice(0, 9), { experts: { force: [0] } })
      sequence.truncate(37) // inside a block: where a layer has a state, the block is computed again
      using fork = sequence.fork()
      const rest = ids.slice(37)
      return await Promise.all([sequence.forward(rest, ask), fork.forward(rest, ask)])
    }
    const [plain, fork] = await after(false)
    expect(fork.routing!.map((layer) => layer!.expertIds)).toEqual(
      plain.routing!.map((layer) => layer!.expertIds),
    )
    const [again] = await after(true)
    if (testDevice === 'cpu') expect([again, fork]).toEqual([plain, plain])
    const whole = await forward(ids, { mask })
    expect(whole.logits.slice(-8)).not.toEqual(plain.logits.slice(-8))
  })

  it('texts with the same beginning share it only where it was routed alike', async () => {
    const prompt = text(40, 3)
    const write = (experts?: LayerExpertOptions, cacheSalt = '') =>
      model().generate(prompt, { maxNewTokens: 4, stopIds: [], logprobs: 1, experts, cacheSalt })
    const mask = kinds().map((_, e) => e > 0)
    const mine = [undefined, { mask }, { force: [0] }, { mask }]
    for (const [i, experts] of mine.entries()) {
      const alone = await write(experts, `salt ${i}`)
      const { ids, logprobs } = await write(experts)
      expect(ids).toEqual(alone.ids)
      if (testDevice === 'cpu') expect(logprobs).toEqual(alone.logprobs)
    }
  })

  it('counts what is chosen', async () => {
    await model().routingStats({ reset: true })
    const results = [await forward(text(19, 5)), await forward(text(4, 6), { force: [1] })]
    const stats = await model().routingStats()
    expect(countsOf(stats)).toEqual(count(model(), results))
    for (const layer of stats.layers)
      expect(layer).toMatchObject({ kinds: kinds(), topK: K(), tokens: 23 })
    const generated = await model().generate(text(5, 2), {
      ...{ maxNewTokens: 4, stopIds: [], routing: true },
    })
    expect(countsOf(await model().routingStats({ reset: true }))).toEqual(
      count(model(), [...results, generated]),
    )
    expect(
      countsOf(await model().routingStats())
        .flat()
        .every((n) => n === 0),
    ).toBe(true)
  })
})

describe('a mask where a token may choose from some groups', () => {
  const layer = (score: 'max' | 'top2'): LayerInfo => {
    const groups = { count: 4, kept: 2, score }
    return { caches: {}, experts: { kinds: Array(12).fill('ffn'), topK: 4, groups, parameters: 1 } }
  }
  const resolve = (off: number[], score: 'max' | 'top2' = 'max', force: number[] = []) =>
    resolveExperts('forward', { mask: range(12).map((e) => !off.includes(e)), force }, [
      layer(score),
    ])

  it.each<[string, number[], 'max' | 'top2', number[]]>([
    ['leaves enough in every two groups', [0, 3, 6, 9], 'max', []],
    ['closes a whole group', [0, 1, 2], 'max', []],
    ['leaves one of a group that is ranked last', [0, 1], 'top2', []],
    ['leaves too few, but for a forced one', [0, 1, 3], 'max', [11]],
  ])('%s', (_, off, score, force) => {
    expect(resolve(off, score, force)).toHaveLength(12)
  })

  it.each<[string, number[], 'max' | 'top2', number[]]>([
    ['leaves two groups with too few', [0, 1, 3], 'max', []],
    ['leaves one group', range(9), 'max', []],
    ['leaves pairs in one group only', [0, 1, 3, 4, 6, 7], 'top2', []],
    ['forces one of two small groups', [0, 1, 3, 4], 'max', [2]],
  ])('is refused where it %s', async (_, off, score, force) => {
    expect(await failure(() => resolve(off, score, force))).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringContaining(
        'experts.mask must be true for at least 4 experts in the groups that a token may choose from',
      ),
    })
  })
})

describe('experts that are refused', () => {
  const model = useModel(fixture('golden/mixtral/window-f32'), { maxTokens: 64 })
  const flags = (...off: number[]) => model().config.experts.map((_, e) => !off.includes(e))

  it.each<[string, (E: number, K: number, L: number) => unknown, RegExp]>([
    ['a number', () => 3, /experts must be an object, or a list of one a layer, got 3/],
    ['null', () => null, /experts must be an object/],
    ['too few layers', () => [{}], /experts must be one a layer, \d+, got 1/],
    ['an unknown name', () => ({ masks: [] }), /option "masks" must be absent.* did you mean mask/],
    ['a string for a layer', (_, __, L) => Array(L).fill('x'), /experts\[0\] must be an object/],
    ['a mask of numbers', (E) => ({ mask: Array(E).fill(1) }), /experts\.mask\[0\] must be true/],
    [
      'a short mask',
      () => ({ mask: [true] }),
      /experts\.mask must be a list of \d+, one an expert/,
    ],
    ['a NaN bias', (E) => ({ bias: Array(E).fill(Number.NaN) }), /bias\[0\] must be a finite/],
    [
      'a huge bias',
      (E) => ({ bias: Array(E).fill(1e9) }),
      /bias\[0\] must be a finite number from/,
    ],
    ['an id that is none', (E) => ({ force: [E] }), /force\[0\] must be a whole number from 0 to/],
    [
      'more forced than chosen',
      (_, K) => ({ force: range(K + 1) }),
      /experts\.force must be at most \d+ experts, got \d+/,
    ],
    [
      'a mask that leaves fewer than K',
      (E, K) => ({ mask: range(E).map((e) => e < K - 1) }),
      /experts\.mask must be true for at least \d+ experts, got \d+/,
    ],
    [
      'forced and out',
      () => ({ mask: flags(1), force: [1] }),
      /experts\.force must be of experts with neither a bias nor a mask of false, got 1/,
    ],
  ])('%s', async (_, experts, message) => {
    const { config } = model()
    const given = experts(config.experts.length, config.topK, config.numLayers) as ExpertOptions
    for (const call of [
      () => model().forward([1], { experts: given }),
      () => model().generate([1], { experts: given }),
      () => model().sequence().forward([1], { experts: given }),
    ]) {
      const error = await failure(call)
      expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
      expect(error.message).toMatch(message)
    }
  })

  it('options of the statistics', async () => {
    expect(await failure(() => model().routingStats({ reset: 1 } as never))).toMatchObject({
      code: 'ERR_MOE_OPTION',
    })
    expect(await failure(() => model().routingStats({ rest: true } as never))).toMatchObject({
      message: expect.stringContaining('did you mean reset?'),
    })
    const other = await loadModel(`${root}/demo/mixtral-tiny`, { device: 'cpu', maxTokens: 64 })
    const reading = other.routingStats()
    await other.dispose()
    expect((await reading).layers).toHaveLength(other.config.numLayers)
    expect(await failure(() => other.routingStats())).toMatchObject({ code: 'ERR_MOE_DISPOSED' })
  })
})
