import { describe, expect, it } from 'vitest'
import { loadModel, type Model, MoeError } from '../../lib/index.ts'
import { native } from '../../lib/native.ts'
import { Random } from '../cases/case.ts'
import { fixture } from '../support/golden.ts'

const dir = fixture('golden/moepp/base-f32')
const load = () => loadModel(dir, { device: 'cpu', maxTokens: 256 })

/** How a call ends; one that never does makes the test time out. */
const outcome = async (call: PromiseLike<unknown>): Promise<string> => {
  try {
    await call
    return 'ok'
  } catch (error) {
    return error instanceof MoeError ? error.code : (error as Error).name
  }
}
const later = () => new Promise((resolve) => setImmediate(resolve))

describe('every call is answered', () => {
  it.each<[string, (model: Model) => Promise<unknown>]>([
    ['model.forward', (model) => model.forward([3])],
    ['model.generate', async (model) => model.generate([3], { maxNewTokens: 200, stopIds: [] })],
    ['sequence.forward', async (model) => model.sequence().forward([3])],
    ['sequence.generate', async (model) => model.sequence().generate([3], { maxNewTokens: 99 })],
    ['a batch', (model) => model.forward([[3], [4, 5]])],
  ])('%s in the turn of dispose', async (_, call) => {
    const model = await load()
    const running = outcome(call(model))
    await model.dispose()
    expect(await running).toBe('ERR_MOE_DISPOSED')
    expect(await outcome(call(model))).toBe('ERR_MOE_DISPOSED')
  })

  it('calls that wait on one sequence, and on its fork', async () => {
    const model = await load()
    const sequence = model.sequence()
    await sequence.forward([3, 4])
    const fork = sequence.fork()
    const calls = [1, 2, 3].flatMap((id) => [sequence.forward([id]), fork.forward([id])])
    const answers = Promise.all(calls.map(outcome))
    await model.dispose()
    expect(new Set(await answers)).toEqual(new Set(['ERR_MOE_DISPOSED']))
    expect(await outcome(fork.forward([1]))).toBe('ERR_MOE_DISPOSED')
  })

  it('whatever the order of calls, aborts and disposals', async () => {
    const random = new Random(12)
    for (let round = 0; round < 12; round++) {
      const model = await load()
      const sequences = [model.sequence(), model.sequence()]
      const answers: Promise<string>[] = []
      for (let i = 0; i < 40; i++) {
        const sequence = sequences[random.int(sequences.length)]!
        const controller = new AbortController()
        const { signal } = controller
        const calls: (() => void)[] = [
          () => answers.push(outcome(sequence.forward([5], { signal }))),
          () => answers.push(outcome(model.forward([5, 6], { signal }))),
          () => answers.push(outcome(sequence.generate([7], { maxNewTokens: 3, signal }))),
          () => answers.push(outcome(model.generate([7], { maxNewTokens: 9, signal }))),
          () => sequences.push(sequence.fork()), // refused while calls run
          () => sequence.truncate(0),
          () => sequence.dispose(),
        ]
        try {
          calls[random.int(calls.length)]!()
        } catch (error) {
          expect((error as { code: string }).code).toMatch(/^ERR_MOE_(OPTION|DISPOSED)$/)
        }
        if (random.int(3) === 0) controller.abort()
        if (random.int(4) === 0) await later()
      }
      await model.dispose()
      for (const answer of await Promise.all(answers))
        expect(answer).toMatch(/^(ok|AbortError|ERR_MOE_DISPOSED|ERR_MOE_CONTEXT_FULL)$/)
    }
  })

  it('also when no step can be made', async () => {
    await using model = await load()
    const addon = native() as { CancelToken: unknown }
    const { CancelToken } = addon
    addon.CancelToken = class {
      constructor() {
        throw new Error('no memory')
      }
    }
    const calls = [model.forward([3]), model.forward([4, 5]), model.sequence().forward([6])]
    const answers = await Promise.all(calls.map(outcome))
    addon.CancelToken = CancelToken
    expect(answers).toEqual(['Error', 'Error', 'Error'])
    expect(await outcome(model.forward([3]))).toBe('ok')
  })

  it('20,000 calls that wait', async () => {
    const model = await load()
    const answers = Array.from({ length: 20_000 }, () => outcome(model.forward([3])))
    await model.dispose()
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['ERR_MOE_DISPOSED']))
  })
})

describe('loading', () => {
  it.each(['first', 'last'])('an abort at the %s tensor ends it with its reason', async (when) => {
    const controller = new AbortController()
    const reason = new Error('enough')
    const loading = loadModel(dir, {
      device: 'cpu',
      signal: controller.signal,
      onProgress: ({ loadedBytes, totalBytes }) => {
        if (when === 'first' || loadedBytes === totalBytes) controller.abort(reason)
      },
    })
    await expect(loading).rejects.toBe(reason)
  })

  it('an abort after it changes nothing', async () => {
    const controller = new AbortController()
    await using model = await loadModel(dir, { device: 'cpu', signal: controller.signal })
    controller.abort()
    expect(await outcome(model.forward([3]))).toBe('ok')
  })
})

describe('two models', () => {
  it('share the engine and nothing else', async () => {
    await using first = await load()
    const second = await loadModel(fixture('golden/mixtral/base-f32'), { device: 'cpu' })
    const alone = (await first.forward([3, 4, 5])).logits
    const [one] = await Promise.all([
      first.forward([3, 4, 5]),
      second.forward([3, 4]),
      second.generate([5], { maxNewTokens: 20 }),
    ])
    expect(one.logits).toEqual(alone)
    const running = outcome(first.generate([3], { maxNewTokens: 40, stopIds: [] }))
    await second.dispose()
    expect(await running).toBe('ok')
    expect((await first.forward([3, 4, 5])).logits).toEqual(alone)
  })
})
