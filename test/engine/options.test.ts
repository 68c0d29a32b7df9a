import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { convertCheckpoint, loadModel, ops, randomModel } from '../../lib/index.ts'
import { nearest } from '../../lib/option_names.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { useModel } from '../support/use_model.ts'

const dir = `${root}/demo/moepp-tiny`
const small = fixture('golden/moepp/base-f32')

describe('a name that is no option', () => {
  const model = useModel(dir, { maxTokens: 64 })
  const config = { model_type: 'mixtral' }

  it.each<[string, (options: any) => unknown, string, string | undefined]>([
    ['generate', (o) => model().generate([1], o), 'maxTokens', 'maxNewTokens'],
    ['generate', (o) => model().generate([1], o), 'max_new_tokens', 'maxNewTokens'],
    ['generate', (o) => model().generate([1], o), 'topp', 'topP'],
    ['generate', (o) => model().generate([1], o), 'stopSequences', 'stop'],
    ['generate', (o) => model().generate([1], o), 'eos_token_id', 'stopIds'],
    ['generate', (o) => model().generate([1], o), 'temprature', 'temperature'],
    ['generate', (o) => model().generate([1], o), 'constructor', undefined],
    ['generate', (o) => model().sequence().generate([1], o), 'max_tokens', 'maxNewTokens'],
    ['forward', (o) => model().forward([1], o), 'logit', 'logits'],
    ['forward', (o) => model().forward([[1], [2]], o), 'output_hidden_states', 'hiddenStates'],
    ['forward', (o) => model().sequence().forward([1], o), 'maxNewTokens', undefined],
    ['loadModel', (o) => loadModel(dir, o), 'max_tokens', 'maxTokens'],
    ['loadModel', (o) => loadModel(dir, o), 'torch_dtype', 'dtype'],
    ['loadModel', (o) => loadModel(dir, o), 'seed', undefined],
    ['randomModel', (o) => randomModel(config, o), 'weight', 'weights'],
    ['randomModel', (o) => randomModel(config, o), 'onProgress', undefined],
    ['convertCheckpoint', (o) => convertCheckpoint(small, 'out', o), 'onprogress', 'onProgress'],
    ['gatherRows', (o) => ops.gatherRows({} as never, o), 'thread', 'threads'],
  ])('%s: %j', async (where, call, name, near) => {
    const error = await failure(() => call({ [name]: 4 }))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
    const hint = near ? `did you mean ${near}\\?$` : 'there are \\w+(, \\w+)+$'
    expect(error.message).toMatch(
      new RegExp(
        `^${where}: option "${name}" must be absent, since there is no such option; ${hint}`,
      ),
    )
  })

  it('is found in no time, however long it is', () => {
    expect(nearest('x'.repeat(1e6), ['x'])).toBeUndefined()
    expect(nearest('', ['seed'])).toBeUndefined()
  })
})

describe('options that would be read as none', () => {
  const model = useModel(dir, { maxTokens: 64 })
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()

  it.each<[string, unknown, string]>([
    ['a Map', new Map([['maxNewTokens', 5]]), 'a Map'],
    ['URLSearchParams', new URLSearchParams('maxNewTokens=5'), 'a URLSearchParams'],
    ['a revoked proxy', revoked.proxy, 'an object'],
  ])('%s', async (_, options, got) => {
    for (const call of [
      () => model().generate('a', options as never),
      () => model().forward([1], options as never),
      () => model().tokenizer!.encode('a', options as never),
    ])
      expect(await failure(call)).toMatchObject({
        code: 'ERR_MOE_OPTION',
        message: expect.stringMatching(new RegExp(`: options must be an object, got ${got}$`)),
      })
  })

  it('numbers that are none here say so', async () => {
    const seeded = (seed: unknown) => failure(() => model().generate('a', { seed: seed as number }))
    expect((await seeded(2 ** 53)).message).toMatch(
      /seed must be .* from 0 to 9007199254740991, got/,
    )
    expect((await seeded(5n)).message).toMatch(/got 5n$/)
  })
})

describe('what ended a text', () => {
  const model = useModel(dir, { maxTokens: 512 })
  const run = (options: object) => model().generate('ROMEO:\n', { maxNewTokens: 30, ...options })

  it('the stop id', async () => {
    const { ids } = await run({ stopIds: [] })
    const result = await run({ stopIds: [ids[9]!, ids[5]!] })
    expect(result).toMatchObject({ finishReason: 'stop', stopReason: ids[5] })
    expect(result.ids).toEqual(ids.slice(0, ids.indexOf(ids[5]!)))
  })

  it('the stop string that comes first, whatever the order of the list', async () => {
    const { text } = await run({ stopIds: [] })
    const [early, late] = [text.slice(12, 16), text.slice(24, 29)]
    for (const stop of [[early, late], [late, early], early]) {
      const result = await run({ stopIds: [], stop })
      expect(result).toMatchObject({ finishReason: 'stop', stopReason: early })
      expect(result.text).toBe(text.slice(0, text.indexOf(early)))
    }
  })

  it('nothing: the length', async () => {
    const result = await run({ stopIds: [], maxNewTokens: 3 })
    expect(result.finishReason).toBe('length')
    expect(result).not.toHaveProperty('stopReason')
  })

  it("a list of stop ids replaces the model's, and [] disables them", async () => {
    const { ids } = await run({ stopIds: [] })
    const copy = copyCheckpoint(dir)
    editJson(path.join(copy, 'generation_config.json'), (json) => {
      json.eos_token_id = ids[4]
    })
    await using other = await loadModel(copy, { device: 'cpu', maxTokens: 64 })
    const again = (options: object) => other.generate('ROMEO:\n', { maxNewTokens: 12, ...options })
    expect((await again({})).stopReason).toBe(ids[4])
    expect((await again({ stopIds: undefined })).stopReason).toBe(ids[4])
    expect((await again({ stopIds: [ids[7]!] })).stopReason).toBe(ids[7])
    expect((await again({ stopIds: [] })).ids).toEqual(ids.slice(0, 12))
  })
})
