import { describe, expect, it } from 'vitest'
import { fixture, golden, loss, maxDifference, range, root } from '../support/golden.ts'
import { testDevice, useModel } from '../support/use_model.ts'

describe.each(['yuan', 'moepp', 'mixtral'])('trained checkpoint %s-tiny', (name) => {
  const want = golden(fixture('models', `${name}-tiny`, 'golden.safetensors'))
  const model = useModel(`${root}/demo/${name}-tiny`, { maxTokens: 2048 })
  const ids = want.ids('prefill.input_ids')
  // The simulator takes minutes for all of it; results of every layer there are in the families' own tests.
  const slow = testDevice.startsWith('cuda-sim')

  it('loss, last logits, and routing but for near ties', async () => {
    const m = model()
    const V = m.config.vocabSize
    const some = slow ? ids.slice(0, 96) : ids
    const r = await m.forward(some, { logits: 'all', routing: true })
    if (!slow) {
      const last = r.logits.subarray(-16 * V)
      expect(Math.abs(loss(r.logits, ids) - want.get('prefill.loss')[0]!)).toBeLessThan(1e-3)
      expect(maxDifference(last, want.get('prefill.logits'))).toBeLessThan(2e-3)
    }
    for (const l of range(m.config.numLayers)) {
      const chosen = want.ids(`prefill.layer${l}.topk_index`)
      const different = Array.from(r.routing![l]!.expertIds).filter((id, i) => id !== chosen[i])
      expect(different.length).toBeLessThanOrEqual(4)
    }
  })

  it('greedy tokens', async () => {
    const tokens = want.ids('generate.tokens').slice(0, slow ? 12 : 64)
    const { ids: got } = await model().generate(want.ids('generate.input_ids'), {
      maxNewTokens: tokens.length,
      stopIds: [],
    })
    expect(got).toEqual(tokens)
  })
})
