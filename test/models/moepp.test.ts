import { describe, expect, it } from 'vitest'
import { fixture, golden, loss, maxDifference, range } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

// Suggested by the golden data's own README.
const tolerance = 2e-4
const weightTolerance = 2e-5

const folders = ['base-f32', 'base-bf16', 'twolayer-gqa-f32', 'mixtral-mqa-f32', 'tied-sharded-f32']

describe.each(folders)('MoE++ golden data: %s', (folder) => {
  const dir = fixture('golden/moepp', folder)
  const want = golden(`${dir}/golden.safetensors`, `${dir}/golden_f64.safetensors`)
  const model = useModel(dir, { maxTokens: 256 })
  const ids = want.ids('prefill.input_ids')

  it('prefill: logits, loss, hidden states and routing', async () => {
    const m = model()
    const r = await m.forward(ids, { logits: 'all', hiddenStates: true, routing: true })
    expect(maxDifference(r.logits, want.get('prefill.logits'))).toBeLessThan(tolerance)
    expect(Math.abs(loss(r.logits, ids) - want.get('prefill.loss')[0]!)).toBeLessThan(tolerance)
    for (const l of range(m.config.numLayers)) {
      const at = `prefill.layer${l}`
      expect(maxDifference(r.hiddenStates![l]!, want.get(`${at}.out`))).toBeLessThan(tolerance)
      expect(Array.from(r.routing![l]!.expertIds)).toEqual(want.ids(`${at}.topk_index`))
      expect(maxDifference(r.routing![l]!.weights, want.get(`${at}.topk_weight`))).toBeLessThan(
        weightTolerance,
      )
      expect(maxDifference(r.routing![l]!.logits, want.get(`${at}.router_logits`))).toBeLessThan(
        tolerance,
      )
    }
  })

  it('prefill of 12, then one token at a time', async () => {
    using sequence = model().sequence()
    const rows = want.rows('decode.logits')
    const V = model().config.vocabSize
    const all = rows[0]!
    const head = await sequence.forward(ids.slice(0, 12), { logits: 'all', routing: true })
    expect(maxDifference(head.logits, all.subarray(0, 12 * V))).toBeLessThan(tolerance)
    for (const t of range(ids.length).slice(12)) {
      const r = await sequence.forward([ids[t]!], { routing: true })
      expect(maxDifference(r.logits, all.subarray(t * V, (t + 1) * V))).toBeLessThan(tolerance)
      for (const [l, layer] of r.routing!.entries())
        expect(Array.from(layer!.expertIds)).toEqual(
          want.ids(`decode.layer${l}.topk_index`).slice(2 * t, 2 * t + 2),
        )
    }
  })

  it('chunks of 10, 7 and 15', async () => {
    using sequence = model().sequence()
    const parts: number[] = []
    for (const [from, to] of [
      [0, 10],
      [10, 17],
      [17, 32],
    ])
      parts.push(...(await sequence.forward(ids.slice(from, to), { logits: 'all' })).logits)
    expect(maxDifference(parts, want.get('chunked.logits'))).toBeLessThan(tolerance)
  })

  it.each(['batch_left', 'batch_right'])(
    '%s as one ragged batch, without its padding',
    async (name) => {
      const m = model()
      const V = m.config.vocabSize
      const masks = want.rows(`${name}.attention_mask`)
      const rows = want
        .rows(`${name}.input_ids`)
        .map((row, b) => Array.from(row).filter((_, i) => masks[b]![i]))
      const results = await m.forward(rows, { logits: 'all', routing: true })
      for (const [b, result] of results.entries()) {
        const real = range(masks[b]!.length).filter((i) => masks[b]![i])
        const wanted = real.flatMap((i) =>
          Array.from(want.rows(`${name}.logits`)[b]!.subarray(i * V, (i + 1) * V)),
        )
        expect(maxDifference(result.logits, wanted)).toBeLessThan(tolerance)
        for (const [l, layer] of result.routing!.entries()) {
          const chosen = want.rows(`${name}.layer${l}.topk_index`)[b]!
          expect(Array.from(layer!.expertIds)).toEqual(
            real.flatMap((i) => Array.from(chosen.subarray(2 * i, 2 * i + 2))),
          )
        }
      }
    },
  )

  it('one more token for each row of a batch', async () => {
    const m = model()
    const masks = want.rows('batch_left.attention_mask')
    const next = want.ids('batch_left_step.input_ids')
    const rows = want
      .rows('batch_left.input_ids')
      .map((row, b) => Array.from(row).filter((_, i) => masks[b]![i]))
    const sequences = rows.map(() => m.sequence())
    await Promise.all(sequences.map((s, b) => s.forward(rows[b]!, { logits: 'none' })))
    const steps = await Promise.all(sequences.map((s, b) => s.forward([next[b]!])))
    for (const [b, step] of steps.entries())
      expect(maxDifference(step.logits, want.rows('batch_left_step.logits')[b]!)).toBeLessThan(
        tolerance,
      )
    for (const s of sequences) s.dispose()
  })

  it('greedy generation, alone and two at once', async () => {
    const m = model()
    const prompt = want.ids('generate.input_ids')
    const alone = await m.generate(prompt, { maxNewTokens: 24, stopIds: [] })
    expect(alone.ids).toEqual(want.ids('generate.output_ids').slice(prompt.length))

    const masks = want.rows('generate_batch.attention_mask')
    const prompts = want
      .rows('generate_batch.input_ids')
      .map((row, b) => Array.from(row).filter((_, i) => masks[b]![i]))
    const both = await Promise.all(
      prompts.map((p) => m.generate(p, { maxNewTokens: 12, stopIds: [] })),
    )
    const outputs = want.rows('generate_batch.output_ids').map((row) => Array.from(row).slice(-12))
    expect(both.map((r) => r.ids)).toEqual(outputs)
  })
})
