import { copyFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadModel, randomModel, type Seq2SeqModel } from '../../lib/index.ts'
import { copyCheckpoint, editJson, readStored, writeStored } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

const base = fixture('golden/seq2seq/base-f32')

const refused = (work: PromiseLike<unknown>, code: string, text: RegExp) =>
  expect(work).rejects.toMatchObject({
    ...{ name: 'MoeError', code, message: expect.stringMatching(text) },
  })

/** The checkpoint with a tokenizer, whose vocabulary is a larger one: rows of the table come again. */
function withTokenizer(vocabSize: number): string {
  const dir = copyCheckpoint(base)
  const file = path.join(dir, 'model.safetensors')
  const tensors = readStored(file)
  for (const name of ['shared.weight', 'lm_head.weight']) {
    const { dtype, shape, data } = tensors.get(name)!
    const row = data.length / shape[0]!
    const rows = Array.from({ length: vocabSize }, (_, id) =>
      data.subarray((id % shape[0]!) * row, ((id % shape[0]!) + 1) * row),
    )
    tensors.set(name, { dtype, shape: [vocabSize, shape[1]!], data: Buffer.concat(rows) })
  }
  for (const name of ['encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'])
    tensors.delete(name)
  writeStored(file, tensors)
  editJson(path.join(dir, 'config.json'), (json) => Object.assign(json, { vocab_size: vocabSize }))
  copyFileSync(fixture('tokenizer/unigram.model'), path.join(dir, 'spiece.model'))
  return dir
}

describe('text in, text out', () => {
  let model: Seq2SeqModel
  beforeAll(async () => {
    model = await loadModel<Seq2SeqModel>(withTokenizer(512), { maxTokens: 256 })
  })
  afterAll(() => model.dispose())

  it('an input ends with the id that ends texts, and sentinels are tokens of it', async () => {
    const text = 'the <extra_id_0> fox'
    const ids = model.tokenizer!.encode(text)
    const { specialIds, eosId } = model.tokenizer!
    expect(ids).toContain(specialIds.get('<extra_id_0>'))
    expect(ids.at(-1)).toBe(eosId)
    expect(await model.encode(text)).toEqual(await model.encode(ids))
    const { usage } = await model.generate(text, { maxNewTokens: 1 })
    expect(usage.promptTokens).toBe(ids.length)
  })

  it('an answer has its sentinels, whole and in chunks, and ends at the id that ends texts', async () => {
    const { specialIds } = model.tokenizer!
    const first = specialIds.get('<extra_id_0>')!
    const last = specialIds.get('<extra_id_1>')!
    const [word] = model.tokenizer!.encode('fox', { addSpecialTokens: false })
    const allowedTokens = [first, last, word!]
    const options = { allowedTokens, maxNewTokens: 12, temperature: 2, seed: 3 }
    const generation = model.generate('the fox', options)
    let chunks = ''
    for await (const { text } of generation) chunks += text
    const { ids, text, finishReason } = await generation
    expect(text).toBe(model.tokenizer!.decode(ids, { special: true }))
    expect(text).toContain('<extra_id_')
    expect(chunks).toBe(text)
    expect(finishReason).toBe('length')
    const ended = await model.generate('the fox', { allowedTokens: [model.config.eosIds[0]!] })
    expect(ended).toMatchObject({ text: '', ids: [], finishReason: 'stop' })
  })
})

describe('what a text may be', () => {
  let model: Seq2SeqModel
  beforeAll(async () => {
    model = await loadModel<Seq2SeqModel>(withTokenizer(512), { maxTokens: 256 })
  })
  afterAll(() => model.dispose())

  it.each([
    [{ choice: ['fox', 'dog'] }, /^(fox|dog)$/],
    [{ regex: '[a-c]{3}' }, /^[a-c]{3}$/],
  ])('a text holds to %j', async (constraint, text) => {
    const generation = model.generate('the fox', { constraint, temperature: 2, seed: 5 })
    let chunks = ''
    for await (const chunk of generation) chunks += chunk.text
    const result = await generation
    expect(result.text).toMatch(text)
    expect(chunks).toBe(result.text)
    expect(result.finishReason).toBe('stop')
  })

  it('texts with and without a constraint share steps', async () => {
    const options = { maxNewTokens: 4, stopIds: [] }
    const alone = await model.generate([9, 1], options)
    const [free, held] = await Promise.all([
      model.generate([9, 1], options),
      model.generate([9, 1], { constraint: { choice: ['fox'] } }),
    ])
    expect(free.ids).toEqual(alone.ids)
    expect(held.text).toBe('fox')
  })

  it('refuses what no token can begin with, as T5 has no braces', () =>
    refused(
      model.generate([9, 1], { constraint: { json: { type: 'object' } } }),
      'ERR_MOE_UNSUPPORTED',
      /go on/,
    ))

  it('refuses what is no grammar', () =>
    refused(
      model.generate([9, 1], { constraint: { grammar: 'root' } }),
      'ERR_MOE_OPTION',
      /grammar/,
    ))

  it('ends no sooner than it is asked to', async () => {
    const ends = model.config.eosIds
    const allowedTokens = [...ends, 9]
    const { ids } = await model.generate([9, 1], {
      ...{ allowedTokens, minNewTokens: 3, maxNewTokens: 9, logitBias: { [ends[0]!]: 100 } },
    })
    expect(ids).toEqual([9, 9, 9])
  })
})

describe('calls', () => {
  let model: Seq2SeqModel
  beforeAll(async () => {
    model = await loadModel<Seq2SeqModel>(base, { maxTokens: 128 })
  })
  afterAll(() => model.dispose())

  it('many texts go in several passes', async () => {
    const texts = Array.from({ length: 9 }, (_, i) => [i + 2, 7, 1])
    const all = await model.encode(texts)
    expect(all).toHaveLength(9)
    expect(await model.encode(texts[8]!)).toEqual(all[8])
  })

  it('tells where tokens went that are written one by one', async () => {
    const options = { maxNewTokens: 5, stopIds: [] }
    const [plain, traced] = await Promise.all([
      model.generate([5, 7, 1], options),
      model.generate([5, 7, 1], { ...options, routing: true }),
    ])
    expect(plain.routing).toBeUndefined()
    expect(traced.ids).toEqual(plain.ids)
    const inputs = { inputIds: [5, 7, 1], decoderIds: [0, ...traced.ids.slice(0, -1)] }
    const { decoder } = await model.forward(inputs, { routing: true })
    for (const [l, layer] of decoder.routing!.entries())
      expect(traced.routing![l]?.expertIds).toEqual(layer?.expertIds)
    const rows: (number | undefined)[] = []
    for await (const { routing } of model.generate([5, 7, 1], { ...options, routing: true }))
      rows.push(routing![1]?.expertIds[0])
    expect(rows).toEqual(Array.from(traced.routing![1]!.expertIds))
  })

  it('calls wait for room, and what is written is cut where the cache ends', async () => {
    const options = { maxNewTokens: 90, stopIds: [] }
    const [one, other] = await Promise.all([
      model.generate([5, 1], options),
      model.generate([6, 1], options),
    ])
    expect(one.ids).toHaveLength(90)
    expect(other.ids).toHaveLength(90)
    const { ids, finishReason } = await model.generate([5, 1], { ...options, maxNewTokens: 500 })
    expect([ids.length, finishReason]).toEqual([96, 'length'])
  })

  it('an abort ends a call that waits and one that writes', async () => {
    const stop = new AbortController()
    const options = { maxNewTokens: 96, stopIds: [], signal: stop.signal }
    const calls = [model.generate([5, 1], options), model.generate([6, 1], options)]
    for await (const _ of calls[0]!) break
    stop.abort(new Error('enough'))
    for (const call of calls) await expect(call).rejects.toThrow(/enough|left early/)
    expect((await model.generate([5, 1], { maxNewTokens: 1, stopIds: [] })).ids).toHaveLength(1)
  })

  it.each([
    [
      'a text without a tokenizer',
      (m: Seq2SeqModel) => m.encode('a'),
      'ERR_MOE_OPTION',
      /tokenizer/,
    ],
    [
      'an id beyond the vocabulary',
      (m: Seq2SeqModel) => m.encode([96]),
      'ERR_MOE_OPTION',
      /ids\[0\]/,
    ],
    ['an empty list', (m: Seq2SeqModel) => m.encode([]), 'ERR_MOE_OPTION', /at least one/],
    [
      'no ids of the decoder',
      (m: Seq2SeqModel) => m.forward({ inputIds: [1], decoderIds: [] }),
      'ERR_MOE_OPTION',
      /decoderIds/,
    ],
    ['no inputs', (m: Seq2SeqModel) => m.forward([]), 'ERR_MOE_OPTION', /at least one/],
    [
      'unknown options',
      (m: Seq2SeqModel) => m.encode([1], { rooting: true } as never),
      'ERR_MOE_OPTION',
      /routing/,
    ],
    [
      'options of other models',
      (m: Seq2SeqModel) => m.generate([1], { experts: {} } as never),
      'ERR_MOE_OPTION',
      /experts/,
    ],
    [
      'a text that is too long',
      (m: Seq2SeqModel) => m.encode(Array(129).fill(5)),
      'ERR_MOE_CONTEXT_FULL',
      /128 tokens/,
    ],
    [
      'a text that leaves no room',
      (m: Seq2SeqModel) => m.generate(Array(128).fill(5)),
      'ERR_MOE_CONTEXT_FULL',
      /128 tokens/,
    ],
  ] as const)('refuses %s', (_, call, code, text) => refused(call(model), code, text))

  it('refuses to write without a start, which generation_config.json may give', async () => {
    const dir = copyCheckpoint(base)
    editJson(path.join(dir, 'config.json'), (json) => delete json.decoder_start_token_id)
    await using without = await loadModel<Seq2SeqModel>(dir)
    await refused(without.generate([5, 1]), 'ERR_MOE_UNSUPPORTED', /decoder_start_token_id/)
    writeFileSync(path.join(dir, 'generation_config.json'), '{"decoder_start_token_id": 0}')
    await using started = await loadModel<Seq2SeqModel>(dir)
    expect(started.config.decoderStartId).toBe(0)
  })

  it('calls end with dispose, and those behind it are refused', async () => {
    const other = await loadModel<Seq2SeqModel>(base, { maxTokens: 512 })
    const work = other.generate([5, 1], { maxNewTokens: 400, stopIds: [] })
    const encoded = other.encode([5, 1])
    for await (const _ of work) {
      const done = other.dispose()
      await refused(work, 'ERR_MOE_DISPOSED', /model/)
      await done
      break
    }
    expect((await encoded).hidden).toHaveLength(48)
    await refused(other.encode([5]), 'ERR_MOE_DISPOSED', /model/)
  })

  it('random weights of a configuration', async () => {
    const config = {
      ...{ model_type: 'switch_transformers', vocab_size: 50, d_model: 32, d_kv: 8, d_ff: 16 },
      ...{ num_layers: 2, num_heads: 4, num_experts: 4, num_sparse_encoder_layers: 1 },
      ...{ num_sparse_decoder_layers: 1, decoder_start_token_id: 0 },
    }
    await using random = await randomModel<Seq2SeqModel>(config, { maxTokens: 128 })
    const { ids } = await random.generate([1, 2, 3], { maxNewTokens: 4, stopIds: [] })
    expect(ids).toHaveLength(4)
  })
})
