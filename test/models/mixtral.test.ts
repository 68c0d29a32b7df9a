import { describe, expect, it } from 'vitest'
import { fixture, golden, loss, maxDifference, range } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const tolerance = 2e-4

describe.each(['base-f32', 'top3-bf16', 'window-f32'])('Mixtral golden data: %s', (folder) => {
  const dir = fixture('golden/mixtral', folder)
  const want = golden(`${dir}/golden.safetensors`)
  const model = useModel(dir, { maxTokens: 256 })
  const ids = want.ids('prefill.input_ids')

  it('prefill: logits, loss, hidden states and routing', async () => {
    const r = await model().forward(ids, { logits: 'all', hiddenStates: true, routing: true })
    expect(maxDifference(r.logits, want.get('prefill.logits'))).toBeLessThan(tolerance)
    expect(Math.abs(loss(r.logits, ids) - want.get('prefill.loss')[0]!)).toBeLessThan(tolerance)
    for (const l of range(model().config.numLayers)) {
      const at = `prefill.layer${l}`
      expect(maxDifference(r.hiddenStates![l]!, want.get(`${at}.out`))).toBeLessThan(tolerance)
      expect(Array.from(r.routing![l]!.expertIds)).toEqual(want.ids(`${at}.topk_index`))
      expect(maxDifference(r.routing![l]!.weights, want.get(`${at}.topk_weight`))).toBeLessThan(
        2e-5,
      )
      expect(maxDifference(r.routing![l]!.logits, want.get(`${at}.router_logits`))).toBeLessThan(
        tolerance,
      )
    }
  })

  it('greedy generation', async () => {
    const { ids: got } = await model().generate(want.ids('generate.input_ids'), {
      maxNewTokens: 24,
      stopIds: [],
    })
    expect(got).toEqual(want.ids('generate.tokens'))
  })
})
