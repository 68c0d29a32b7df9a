import { describe, expect, it } from 'vitest'
import type { LoadModelOptions } from '../../lib/index.ts'
import { fixture, golden, loss, maxDifference, range } from './golden.ts'
import { useModel } from './use_model.ts'

/**
 * Results of a family's published code in float64, in the folders of test/fixtures/golden/<family>: what its README
 * says of names and margins holds for all of them. Routing and greedy tokens are equal, numbers within `tolerance`.
 */
export function goldenFamily(
  family: string,
  folders: readonly string[],
  tolerance = 2e-4,
  options: Pick<LoadModelOptions, 'weights'> = {},
): void {
  describe.each(folders)(`${family} golden data: %s`, (folder) => {
    const dir = fixture('golden', family, folder)
    const want = golden(`${dir}/golden.safetensors`)
    const model = useModel(dir, { maxTokens: 512, ...options })
    const prompts = ['prefill', ...range(8).map((i) => `ragged.${i}`)].filter((name) =>
      want.has(`${name}.input_ids`),
    )
    const run = async (name: string) =>
      model().forward(want.ids(`${name}.input_ids`), {
        ...({ logits: 'all', hiddenStates: true, routing: true } as const),
      })

    function check(name: string, r: Awaited<ReturnType<typeof run>>) {
      expect(maxDifference(r.logits, want.get(`${name}.logits`))).toBeLessThan(tolerance)
      for (const l of range(model().config.numLayers)) {
        const at = `${name}.layer${l}`
        if (want.has(`${at}.out`))
          expect(maxDifference(r.hiddenStates![l]!, want.get(`${at}.out`))).toBeLessThan(tolerance)
        const routing = r.routing![l]
        expect(routing !== undefined).toBe(want.has(`${at}.topk_index`))
        if (!routing) continue
        expect(Array.from(routing.expertIds)).toEqual(want.ids(`${at}.topk_index`))
        const differs = maxDifference(routing.weights, want.get(`${at}.topk_weight`))
        expect(differs).toBeLessThan(tolerance / 10)
        if (want.has(`${at}.router_logits`))
          expect(maxDifference(routing.logits, want.get(`${at}.router_logits`))).toBeLessThan(
            tolerance,
          )
      }
    }

    it('prefill: logits, loss, hidden states and routing', async () => {
      const r = await run('prefill')
      check('prefill', r)
      const ids = want.ids('prefill.input_ids')
      expect(Math.abs(loss(r.logits, ids) - want.get('prefill.loss')[0]!)).toBeLessThan(tolerance)
    })

    it('prompts of other lengths in one batch, each as by itself', async () => {
      expect(prompts.length).toBeGreaterThan(1)
      const together = await Promise.all(prompts.map(run))
      for (const [i, name] of prompts.entries()) check(name, together[i]!)
    })

    it('greedy generation, and a prompt in two pieces', async () => {
      const ids = want.ids('generate.input_ids')
      const options = { maxNewTokens: want.ids('generate.tokens').length, stopIds: [] }
      const { ids: got } = await model().generate(ids, options)
      expect(got).toEqual(want.ids('generate.tokens'))
      using sequence = model().sequence()
      await sequence.forward(ids.slice(0, 3))
      expect((await sequence.generate(ids.slice(3), options)).ids).toEqual(got)
    })
  })
}
