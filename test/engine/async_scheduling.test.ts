import { describe, expect, it } from 'vitest'
import { fixture, range, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

/** The step after a draw is asked for before its token is known; nobody may notice. */
describe.each([
  ['yuan', `${root}/demo/yuan-tiny`],
  ['yuan, eod reset', fixture('golden/yuan/tiny-d-variant')],
  ['moepp', `${root}/demo/moepp-tiny`],
  ['mixtral', `${root}/demo/mixtral-tiny`],
  ['mixtral, sliding window', fixture('golden/mixtral/window-f32')],
])('%s', (_, dir) => {
  // Room for few texts at a time, so that blocks of texts that have ended are used again at once.
  const model = useModel(dir, { maxTokens: 256 })
  const prompt = (i: number) => range(1 + ((i * 13) % 40)).map((k) => (k * k + 7 * i + 3) % 97)

  it('texts that end at different times, and others in their place, are what they are alone', async () => {
    const alone: number[][] = []
    for (const i of range(12)) {
      const options = { maxNewTokens: 3 + ((i * 7) % 30), stopIds: [] }
      alone.push((await model().generate(prompt(i), options)).ids)
    }
    const together = await Promise.all(
      range(12).map((i) =>
        model().generate(prompt(i), { maxNewTokens: 3 + ((i * 7) % 30), stopIds: [] }),
      ),
    )
    expect(together.map(({ ids }) => ids)).toEqual(alone)
  })

  it('a stop id ends one text and not its neighbour', async () => {
    const options = { maxNewTokens: 20, stopIds: [] }
    const [a, b] = [
      (await model().generate(prompt(1), options)).ids,
      (await model().generate(prompt(2), options)).ids,
    ]
    const stop = a.find((id, i) => i > 4 && a.indexOf(id) === i && !b.includes(id))
    const stopped = { ...options, ...(stop !== undefined && { stopIds: [stop] }) }
    const [cut, whole] = await Promise.all([
      model().generate(prompt(1), stopped),
      model().generate(prompt(2), options),
    ])
    expect(cut.ids).toEqual(stop === undefined ? a : a.slice(0, a.indexOf(stop)))
    expect(whole.ids).toEqual(b)
  })

  it('draws do not depend on it', async () => {
    const options = { maxNewTokens: 24, stopIds: [], temperature: 1, seed: 5 }
    const free = await model().generate(prompt(3), options)
    // Penalties need the text so far, so these steps wait for each other; this one changes nothing.
    const waiting = await model().generate(prompt(3), { ...options, repetitionPenalty: 1 + 1e-9 })
    expect(waiting.ids).toEqual(free.ids)
  })

  it('leaving a text early leaves the model as it was', async () => {
    const options = { maxNewTokens: 24, stopIds: [] }
    const { ids } = await model().generate(prompt(4), options)
    const seen: number[] = []
    for await (const { id } of model().generate(prompt(4), options)) {
      seen.push(id)
      if (seen.length === 5) break
    }
    expect(seen).toEqual(ids.slice(0, 5))
    expect((await model().generate(prompt(4), options)).ids).toEqual(ids)
  })
})
