import { describe, expect, it } from 'vitest'
import { markup } from '../../lib/cli/markup.ts'
import { RoutingTally } from '../../lib/cli/routing_tally.ts'
import { TokenKinds } from '../../lib/cli/token_kinds.ts'
import { demoModel } from '../../lib/index.ts'
import { range } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

it('tokens are told apart by their characters, and fragments by what stands before', () => {
  const kinds = new TokenKinds()
  const texts = [
    'To',
    ' be',
    'gin',
    's',
    ',',
    ' 12',
    'a',
    '\n',
    'R',
    'om',
    '',
    'eo',
    "'s",
    '�',
    '日',
    '本',
  ]
  expect(texts.map((text) => kinds.next(text))).toEqual([
    ...['word', 'word', 'fragment', 'fragment', 'punctuation', 'number', 'word', 'space'],
    ...['word', 'fragment', 'special', 'word', 'fragment', 'other', 'word', 'word'],
  ])
})

it('texts in markup are escaped, also in attributes, and markup is not', () => {
  const bold = markup`<b>${'<&"'}</b>`
  expect(String(markup`<p title="${'"x"'}">${[bold, bold, 1]}</p>`)).toBe(
    '<p title="&quot;x&quot;"><b>&lt;&amp;&quot;</b><b>&lt;&amp;&quot;</b>1</p>',
  )
})

describe('the report of a routing', () => {
  const layer = { kinds: ['ffn', 'ffn', 'zero'], topK: 2, shared: false } as const
  const counted = { ...layer, tokens: 0, tokensPerExpert: new Float64Array(3) }
  const rows = (ids: number[], logits: number[]) => ({
    expertIds: Int32Array.from(ids),
    weights: new Float32Array(ids.length),
    logits: Float32Array.from(logits),
  })

  it('has load, its entropy, the balance loss and slots by kind of token', () => {
    const tally = new RoutingTally([undefined, counted])
    const [a, b] = [Math.log(2), Math.log(6)] // softmax 0.2, 0.6, 0.2
    // The first row is of a token that does not count.
    const each = tally.add(
      [undefined, rows([0, 1, 0, 2, 1, 0], [9, 9, 9, 0, 0, 0, a, b, a])],
      ['word', 'fragment'],
    )
    expect([...each.ffn]).toEqual([1, 2])
    const report = tally.report()
    const entropies = [Math.log(3), -(0.4 * Math.log(0.2) + 0.6 * Math.log(0.6))]
    expect([...each.entropy]).toEqual(entropies.map((h) => expect.closeTo(h, 6)))
    const [none, one] = report.layers
    expect(none).toBeNull()
    expect(one!.load).toEqual([1, 0.5, 0.5])
    expect(one!.loadEntropy).toBeCloseTo(1.5 * Math.log(2), 12)
    expect(one!.effectiveExperts).toBeCloseTo(2 ** 1.5, 12)
    expect(one!.routerEntropy).toBeCloseTo((entropies[0]! + entropies[1]!) / 2, 6)
    const means = [(1 / 3 + 0.2) / 2, (1 / 3 + 0.6) / 2, (1 / 3 + 0.2) / 2]
    expect(one!.balanceLoss).toBeCloseTo(3 * (means[0]! / 2 + means[1]! / 4 + means[2]! / 4), 6)
    expect(one!.slots).toEqual({ ffn: 1.5, constant: 0, copy: 0, zero: 0.5 })
    expect(report).toMatchObject({
      tokens: 2,
      tokenKinds: [
        { kind: 'word', tokens: 1, slots: { ffn: 1, zero: 1 }, ffnSlots: [null, 1] },
        { kind: 'fragment', tokens: 1, slots: { ffn: 2, zero: 0 }, ffnSlots: [null, 2] },
      ],
    })
  })

  it('is 1 where load and routers are even, and the number of experts where all goes to one', () => {
    const top1 = { ...counted, kinds: ['ffn', 'ffn'] as const, topK: 1 }
    const lossOf = (ids: number[], logits: number[]) => {
      const tally = new RoutingTally([top1])
      tally.add(
        [rows(ids, logits)],
        ids.map(() => 'word' as const),
      )
      return tally.report().layers[0]!.balanceLoss
    }
    expect(lossOf([0, 1], [0, 0, 0, 0])).toBe(1)
    expect(lossOf([1, 1], [-99, 0, -99, 0])).toBeCloseTo(2, 12)
  })

  const model = useModel(demoModel, { maxTokens: 256 })
  it('counts what the model counts', async () => {
    await model().routingStats({ reset: true })
    const ids = range(40).map((i) => 5 + 7 * i)
    const { layers } = await model().routingStats()
    const tally = new RoutingTally(layers)
    const { routing } = await model().forward(ids, { logits: 'none', routing: true })
    tally.add(
      routing!,
      ids.map(() => 'word' as const),
    )
    const stats = await model().routingStats()
    for (const [l, one] of tally.report().layers.entries())
      expect(one!.load.map((share) => Math.round(share * 40))).toEqual([
        ...stats.layers[l]!.tokensPerExpert,
      ])
  })
})
