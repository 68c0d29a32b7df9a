import { rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { checkpointDefaults, generationKeys } from '../../lib/engine/checkpoint_defaults.ts'
import { loadModel } from '../../lib/index.ts'
import type { LoadModelOptions } from '../../lib/load_options.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'

type Json = Record<string, unknown>

const small = fixture('golden/moepp/base-f32')
const file = 'generation_config.json'
const read = (json: Json) => checkpointDefaults({ name: file, json })

const load = (
  change: Json,
  {
    from = small,
    into = file,
    ...options
  }: LoadModelOptions & { from?: string; into?: string } = {},
) => {
  const copy = copyCheckpoint(from)
  if (into !== file) rmSync(path.join(copy, file))
  editJson(path.join(copy, into), (json) => Object.assign(json, change))
  return loadModel(copy, { device: 'cpu', maxTokens: 64, ...options })
}

describe('where a call says nothing, generation_config.json says', () => {
  it('how many tokens', async () => {
    await using model = await load({ max_new_tokens: 5, temperature: null })
    expect((await model.generate([1], { stopIds: [] })).ids).toHaveLength(5)
    expect((await model.generate([1], { stopIds: [], maxNewTokens: 7 })).ids).toHaveLength(7)
  })

  it('which strings end a text', async () => {
    const from = `${root}/demo/moepp-tiny`
    await using model = await load({}, { from })
    const whole = (await model.generate('ROMEO:', { maxNewTokens: 20 })).text
    const stop = whole.slice(9, 12)
    await using other = await load({ stop_strings: [stop] }, { from })
    const generate = (options: object) =>
      other.generate('ROMEO:', { maxNewTokens: 20, ...options }).then(({ text }) => text)
    expect(await generate({})).toBe(whole.slice(0, whole.indexOf(stop)))
    expect(await generate({ stop: [] })).toBe(whole)
    expect(await generate({ stop: whole.slice(4, 7) })).toBe(whole.slice(0, 4))
  })

  it('strings that end a text where nothing can be decoded: [] does without them', async () => {
    await using model = await load({ stop_strings: 'x' })
    const error = await failure(() => model.generate([1], { maxNewTokens: 2 }))
    expect(error.code).toBe('ERR_MOE_OPTION')
    expect(error.message).toMatch(/^generate: stop \(here stop_strings .* has no tokenizer/)
    await model.generate([1], { maxNewTokens: 2, stop: [] })
  })

  it.each<[Json, object]>([
    [{ repetition_penalty: 1.3 }, { repetitionPenalty: 1.3 }],
    [{ stop_strings: 'a' }, { stop: ['a'] }],
    [{ do_sample: true }, { temperature: 1 }],
    [
      { do_sample: true, temperature: 0.6, top_k: 20 },
      { temperature: 0.6, topK: 20 },
    ],
    [
      { do_sample: true, top_p: 0.9, min_p: 0.1 },
      { temperature: 1, topP: 0.9, minP: 0.1 },
    ],
    [{ do_sample: false, temperature: 0.6, top_p: 0.9, typical_p: 0.5, eta_cutoff: 0.1 }, {}],
    [{ temperature: 0.6, top_k: 50 }, {}],
  ])('%j', (json, expected) => {
    const given = Object.entries(read(json)).filter(([, value]) => value !== undefined)
    expect(Object.fromEntries(given)).toEqual(expected)
  })

  it.each<[string, Json]>([
    ['max_new_tokens', { max_new_tokens: 0 }],
    ['repetition_penalty', { repetition_penalty: 0 }],
    ['do_sample', { do_sample: 'yes' }],
    ['stop_strings', { stop_strings: ['a', ''] }],
    ['stop_strings', { stop_strings: 5 }],
    ['temperature', { do_sample: true, temperature: -5 }],
    ['temperature', { do_sample: true, temperature: '0.7' }],
    ['top_k', { do_sample: true, top_k: 50.5 }],
    ['top_p', { do_sample: true, top_p: 1.5 }],
    ['min_p', { do_sample: true, min_p: -1 }],
  ])('nonsense is refused at load by the name of its key: %s', async (key, change) => {
    const error = await failure(() => load(change))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(new RegExp(`^generation_config\\.json: ${key} must be `))
  })

  it('an older config.json says it where there is no such file', async () => {
    const into = 'config.json'
    await using model = await load({ max_new_tokens: 5 }, { into })
    expect((await model.generate([1], { stopIds: [] })).ids).toHaveLength(5)
    await using beams = await load({ num_beams: 4 }, { into })
    const error = await failure(() => beams.generate([1]))
    expect(error.message).toContain('num_beams of config.json must be 1, got 4')
    await using beside = await load({ num_beams: 1 }, {})
    await beside.generate([1], { maxNewTokens: 1 })
  })
})

/** A value that changes results, and those that transformers writes where nothing does. */
const unsupported: Record<string, { on: unknown; off?: unknown[] }> = {
  num_beams: { on: 4, off: [1] },
  num_return_sequences: { on: 2, off: [1] },
  penalty_alpha: { on: 0.6, off: [0] },
  dola_layers: { on: 'low' },
  min_length: { on: 10, off: [0] },
  min_new_tokens: { on: 10, off: [0] },
  max_time: { on: 1.5 },
  no_repeat_ngram_size: { on: 3, off: [0] },
  encoder_no_repeat_ngram_size: { on: 3, off: [0] },
  encoder_repetition_penalty: { on: 1.2, off: [1] },
  bad_words_ids: { on: [[5]], off: [[]] },
  force_words_ids: { on: [[5]], off: [[]] },
  constraints: { on: [{}], off: [[]] },
  suppress_tokens: { on: [5], off: [[]] },
  begin_suppress_tokens: { on: [5], off: [[]] },
  sequence_bias: { on: { 5: 1 }, off: [{}, []] },
  forced_bos_token_id: { on: 5 },
  forced_eos_token_id: { on: 2 },
  forced_decoder_ids: { on: [[1, 5]], off: [[]] },
  exponential_decay_length_penalty: { on: [5, 1.1] },
  guidance_scale: { on: 1.5, off: [1] },
  watermarking_config: { on: { bias: 2.5 } },
  token_healing: { on: true, off: [false] },
  generation_kwargs: { on: { a: 1 }, off: [{}] },
  'a key of tomorrow': { on: 1 },
}
const sampled: typeof unsupported = {
  typical_p: { on: 0.5, off: [1] },
  epsilon_cutoff: { on: 3e-4, off: [0] },
  eta_cutoff: { on: 3e-4, off: [0] },
  top_h: { on: 0.4 },
}

describe('what generation_config.json asks for and is not here', () => {
  it('the table is whole', () => {
    expect(Object.keys(unsupported)).toEqual([
      ...Object.keys(generationKeys.only!),
      'a key of tomorrow',
    ])
  })

  it.each([...Object.entries(unsupported), ...Object.entries(sampled)])(
    '%s is refused, and its neutral values are not',
    (key, { on, off = [] }) => {
      const of = (value: unknown) => read({ do_sample: true, [key]: value }).unsupported
      expect(of(on)).toMatch(new RegExp(`^generate: ${key} of generation_config\\.json must be `))
      for (const value of [...off, null]) expect(of(value)).toBeUndefined()
    },
  )

  it('every other published key is fine', () => {
    for (const key of [...Object.values(generationKeys.ignored!).flat(), 'eos_token_id'])
      expect(read({ [key]: 5 }).unsupported).toBeUndefined()
  })

  it('ends no load, but each generation, unless the caller does without the file', async () => {
    const change = { num_beams: 4, max_new_tokens: 5, eos_token_id: 7 }
    await using model = await load(change)
    await model.forward([1])
    const sequence = model.sequence()
    for (const call of [() => model.generate([1], { seed: 1 }), () => sequence.generate([1])]) {
      const error = await failure(call)
      expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
      expect(error.message).toBe(
        'generate: num_beams of generation_config.json must be 1, got 4; ' +
          'loadModel with generationDefaults: false does without what the file says',
      )
    }
    await using without = await load(change, { generationDefaults: false })
    const { ids } = await without.generate([1], { maxNewTokens: 8, stopIds: [] })
    expect(ids).toHaveLength(8)
    const stop = await without.generate([1], { maxNewTokens: 8, stopIds: undefined })
    expect(stop.ids).toEqual(ids.includes(7) ? ids.slice(0, ids.indexOf(7)) : ids)
  })
})
