import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { fixture, golden, maxDifference, range } from '../support/golden.ts'
import { testDevice, useModel } from '../support/use_model.ts'

// Given by the golden data's own README.
const tolerance = 5e-5

const open = (folder: string) => {
  const dir = fixture('golden/yuan', folder)
  return { dir, want: golden(`${dir}/golden.safetensors`) }
}

describe.each(['tiny-a', 'tiny-b', 'tiny-c-bf16', 'tiny-d-variant'])(
  'Yuan golden data: %s',
  (folder) => {
    const { dir, want } = open(folder)
    const model = useModel(dir, { maxTokens: 512 })
    const ids = want.ids('prefill.input_ids')

    it('prefill: logits, hidden states and routing', async () => {
      const m = model()
      const r = await m.forward(ids, { logits: 'all', hiddenStates: true, routing: true })
      expect(maxDifference(r.logits, want.get('prefill.logits'))).toBeLessThan(tolerance)
      expect(maxDifference(r.logits, want.get('prefill.logits_f64'))).toBeLessThan(tolerance)
      for (const l of range(m.config.numLayers)) {
        const at = `prefill.layer${l}`
        expect(maxDifference(r.hiddenStates![l]!, want.get(`${at}.out`))).toBeLessThan(tolerance)
        expect(Array.from(r.routing![l]!.expertIds)).toEqual(want.ids(`${at}.topk_index`))
        expect(maxDifference(r.routing![l]!.weights, want.get(`${at}.topk_weight`))).toBeLessThan(
          tolerance,
        )
        expect(maxDifference(r.routing![l]!.logits, want.get(`${at}.router_logits`))).toBeLessThan(
          tolerance,
        )
      }
    })

    it('prefill, then one token at a time with the filter state', async () => {
      using sequence = model().sequence()
      await sequence.forward(ids, { logits: 'none' })
      const logits = want.rows('decode.logits')
      for (const [t, id] of want.ids('decode.input_ids').entries()) {
        const r = await sequence.forward([id], { routing: true })
        expect(maxDifference(r.logits, logits[t]!)).toBeLessThan(tolerance)
        for (const [l, layer] of r.routing!.entries())
          expect(Array.from(layer!.expertIds)).toEqual(
            Array.from(want.rows(`decode.layer${l}.topk_index`)[t]!),
          )
      }
    })

    it('the prompt one by one, from a prompt of one token on', async () => {
      using sequence = model().sequence()
      for (const [t, row] of want.rows('one_by_one.logits').entries())
        expect(maxDifference((await sequence.forward([ids[t]!])).logits, row)).toBeLessThan(
          tolerance,
        )
    })

    it('greedy generation', async () => {
      const { ids: got } = await model().generate(want.ids('generate.input_ids'), {
        maxNewTokens: 24,
        stopIds: [],
      })
      expect(got).toEqual(want.ids('generate.tokens'))
    })
  },
)

describe('Yuan golden data: a long text, three rotary tables', () => {
  const { dir, want } = open('tiny-a')
  const ids = want.ids('long.input_ids')

  it.each([
    ['published', 'long.logits_tail'],
    ['bf16-frequencies', 'long.logits_tail_rope_megatron'],
    ['exact', 'long.logits_tail_rope_fp32'],
  ] as const)('ropeTable %s', async (ropeTable, name) => {
    await using m = await loadModel(dir, {
      device: testDevice,
      dtype: 'f32',
      maxTokens: 512,
      ropeTable,
    })
    const { logits, routing } = await m.forward(ids, { logits: 'all', routing: true })
    expect(maxDifference(logits.subarray(-32 * m.config.vocabSize), want.get(name))).toBeLessThan(
      tolerance,
    )
    if (ropeTable !== 'published') return
    for (const [l, layer] of routing!.entries())
      expect(Array.from(layer!.expertIds)).toEqual(want.ids(`long.layer${l}.topk_index`))
  })

  it('rows of a padded batch, without their padding', async () => {
    await using m = await loadModel(dir, { device: testDevice, dtype: 'f32', maxTokens: 512 })
    const V = m.config.vocabSize
    const real = (name: string, b: number) => {
      const mask = want.rows(`${name}.attention_mask`)[b]!
      return Array.from(want.rows(`${name}.input_ids`)[b]!).filter((_, i) => mask[i])
    }
    const rows = [real('rightpad', 0), real('rightpad', 1), real('leftpad', 0)]
    const wanted = [
      want.rows('rightpad.logits')[0]!,
      want.rows('rightpad.logits')[1]!,
      want.rows('leftpad.logits')[0]!,
    ]
    const results = await m.forward(rows, { logits: 'all' })
    // Row 1 of leftpad is not a target: the published code attends to its padding.
    for (const [b, { logits }] of results.entries())
      expect(maxDifference(logits, wanted[b]!.subarray(0, rows[b]!.length * V))).toBeLessThan(
        tolerance,
      )
  })
})

describe('Yuan golden data: variants', () => {
  it('nothing at or before an <eod> is visible after it, with reset_attention_mask', async () => {
    const { dir, want } = open('tiny-d-variant')
    await using m = await loadModel(dir, { device: testDevice, dtype: 'f32', maxTokens: 64 })
    const { logits } = await m.forward(want.ids('eod.input_ids'), { logits: 'all' })
    expect(maxDifference(logits, want.get('eod.logits'))).toBeLessThan(tolerance)
  })

  it.each(['tiny-e-gptq4', 'tiny-f-gptq8'])('GPTQ: %s', async (folder) => {
    const { dir, want } = open(folder)
    await using m = await loadModel(dir, {
      device: testDevice,
      dtype: 'f32',
      weights: 'f32',
      maxTokens: 64,
    })
    const r = await m.forward(want.ids('prefill.input_ids'), { logits: 'all', routing: true })
    expect(maxDifference(r.logits, want.get('prefill.logits'))).toBeLessThan(tolerance)
    for (const [l, layer] of r.routing!.entries())
      expect(Array.from(layer!.expertIds)).toEqual(want.ids(`prefill.layer${l}.topk_index`))
    const { ids } = await m.generate(want.ids('generate.input_ids'), {
      maxNewTokens: 12,
      stopIds: [],
    })
    expect(ids).toEqual(want.ids('generate.tokens'))
  })
})
