import { describe, expect, it } from 'vitest'
import { loadModel, type Model } from '../../lib/index.ts'
import { fixture, maxDifference, range, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const checkpoints: [string, string][] = [
  ['yuan', `${root}/demo/yuan-tiny`],
  ['yuan, odd heads', fixture('golden/yuan/tiny-c-bf16')],
  ['yuan, eod reset', fixture('golden/yuan/tiny-d-variant')],
  ['moepp', `${root}/demo/moepp-tiny`],
  ['moepp, two-layer router', fixture('golden/moepp/twolayer-gqa-f32')],
  ['mixtral', `${root}/demo/mixtral-tiny`],
  ['mixtral, sliding window', fixture('golden/mixtral/window-f32')],
]

const text = (n: number, seed: number): number[] =>
  range(n).map((i) => (i * i * 7 + i * seed + 3) % 97)

/** Within f32 rounding; on the CPU the bits are equal, too. */
const close = (a: Float32Array, b: Float32Array) => expect(maxDifference(a, b)).toBeLessThan(1e-5)

async function stepByStep(model: Model, ids: number[], cuts: number[]): Promise<Float32Array> {
  using sequence = model.sequence()
  const V = model.config.vocabSize
  const logits = new Float32Array(ids.length * V)
  for (const [i, from] of cuts.entries())
    logits.set(
      (await sequence.forward(ids.slice(from, cuts[i + 1]), { logits: 'all' })).logits,
      from * V,
    )
  return logits
}

describe.each(checkpoints)('%s', (_, dir) => {
  const model = useModel(dir, { maxTokens: 1024 })

  it('one token at a time, and any chunks, equal one prefill', async () => {
    const ids = text(70, 5)
    const whole = (await model().forward(ids, { logits: 'all' })).logits
    close(await stepByStep(model(), ids, range(70)), whole)
    close(await stepByStep(model(), ids, [0, 1, 33, 34, 64, 66]), whole)
  })

  it('prompts longer than one step come in chunks', async () => {
    const ids = text(700, 11)
    const whole = (await model().forward(ids)).logits
    using sequence = model().sequence()
    await sequence.forward(ids.slice(0, 199), { logits: 'none' })
    close((await sequence.forward(ids.slice(199))).logits, whole)
  })

  it('a sequence does not depend on its neighbours, to the bit', async () => {
    const all = [text(1, 3), text(40, 9), text(33, 2), text(90, 1)]
    const together = await model().forward(all, {
      logits: 'all',
      hiddenStates: true,
      routing: true,
    })
    for (const [i, ids] of all.entries()) {
      const alone = await model().forward(ids, { logits: 'all', hiddenStates: true, routing: true })
      expect(together[i]).toEqual(alone)
    }
  })

  it('one thread gives the same bits as two', async () => {
    await using single = await loadModel(dir, { device: 'cpu', maxTokens: 256, threads: 1 })
    const ids = text(100, 4)
    expect((await single.forward(ids)).logits).toEqual((await model().forward(ids)).logits)
  })

  it('a fork and its source go on independently', async () => {
    const ids = text(70, 6)
    using source = model().sequence()
    await source.forward(ids.slice(0, 50), { logits: 'none' })
    using copy = source.fork()
    const [a, b] = await Promise.all([source.forward(ids.slice(50, 70)), copy.forward([1, 2, 3])])
    close(a.logits, (await model().forward(ids)).logits)
    close(b.logits, (await model().forward([...ids.slice(0, 50), 1, 2, 3])).logits)
    expect([source.length, copy.length]).toEqual([70, 53])
  })

  it.each([0, 1, 32, 45, 64, 70])(
    'cut back to %i tokens, it goes on as if the rest had never been',
    async (length) => {
      const ids = text(70, 8)
      using sequence = model().sequence()
      using fork = sequence.fork()
      await sequence.forward(ids, { logits: 'none' })
      sequence.truncate(length)
      expect(sequence.ids).toEqual(ids.slice(0, length))
      const more = await sequence.forward([9, 8, 7], { logits: 'all' })
      expect(more.logits.length).toBe(3 * model().config.vocabSize)
      const whole = await model().forward([...ids.slice(0, length), 9, 8, 7], { logits: 'all' })
      close(more.logits, whole.logits.subarray(length * model().config.vocabSize))
      expect(fork.length).toBe(0)
    },
  )

  it('cutting a fork leaves what it shares alone', async () => {
    const ids = text(64, 8)
    using source = model().sequence()
    await source.forward(ids, { logits: 'none' })
    using copy = source.fork()
    copy.truncate(40)
    await copy.forward([1, 2, 3, 4], { logits: 'none' })
    close((await source.forward([5])).logits, (await model().forward([...ids, 5])).logits)
    close(
      (await copy.forward([6])).logits,
      (await model().forward([...ids.slice(0, 40), 1, 2, 3, 4, 6])).logits,
    )
  })
})

describe('concurrent calls', () => {
  const model = useModel(`${root}/demo/moepp-tiny`, { maxTokens: 1024 })

  it('generations and forwards at once give what they give alone', async () => {
    const prompts = [text(3, 1), text(40, 2), text(9, 3)]
    const options = { maxNewTokens: 30, temperature: 0.9, seed: 7, stopIds: [] }
    const [a, b, c, logits] = await Promise.all([
      ...prompts.map((prompt) => model().generate(prompt, options)),
      model()
        .forward(text(600, 3))
        .then((r) => r.logits),
    ])
    for (const [i, got] of [a, b, c].entries())
      expect((got as { ids: number[] }).ids).toEqual(
        (await model().generate(prompts[i]!, options)).ids,
      )
    expect(logits).toEqual((await model().forward(text(600, 3))).logits)
  })

  it('calls on one sequence run in order', async () => {
    using sequence = model().sequence()
    const ids = text(12, 4)
    const parts = await Promise.all([0, 4, 8].map((at) => sequence.forward(ids.slice(at, at + 4))))
    expect(parts[2]!.logits).toEqual((await model().forward(ids)).logits)
  })

  it('passes that do not fit the cache together wait their turn', async () => {
    await using small = await loadModel(`${root}/demo/moepp-tiny`, { device: 'cpu', maxTokens: 64 })
    const ids = text(40, 1)
    const all = await Promise.all(range(4).map(() => small.forward(ids)))
    for (const { logits } of all) expect(logits).toEqual(all[0]!.logits)
  })

  it('more work than the cache holds at once waits its turn', async () => {
    await using small = await loadModel(`${root}/demo/moepp-tiny`, {
      device: 'cpu',
      maxTokens: 64,
    })
    const all = await Promise.all(
      range(5).map(() => small.generate(text(20, 1), { maxNewTokens: 20, stopIds: [] })),
    )
    expect(new Set(all.map((r) => r.ids.join())).size).toBe(1)
  })
})
