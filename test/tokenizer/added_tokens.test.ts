import { renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { openTokenizer } from '../../lib/tokenizer/index.ts'
import { copyCheckpoint, editJson, failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { tokenizerJsonOf } from '../support/tokenizer_json.ts'
import { anyConfig, openAlone } from '../support/tokenizers.ts'

const tiny = `${root}/demo/mixtral-tiny`
const plain = {
  special: false,
  lstrip: false,
  rstrip: false,
  single_word: false,
  normalized: false,
}
const config = {
  add_bos_token: false,
  added_tokens_decoder: {
    4: { ...plain, content: '<sep>', special: true },
    2040: { ...plain, content: '<tool_call>' },
    2041: { ...plain, content: '<left>', lstrip: true },
    2042: { ...plain, content: '<right>', rstrip: true },
    2043: { ...plain, content: '<word>', single_word: true },
  },
}
const open = (extra: object = {}, beside: object = {}) =>
  openAlone(`${tiny}/tokenizer.model`, {
    'tokenizer_config.json': { ...config, ...extra },
    ...beside,
  })

describe('tokens added to a SentencePiece model', () => {
  it('that are not special stay in the text', async () => {
    const tokenizer = await open()
    expect(tokenizer.decode(tokenizer.encode('call <tool_call>now'))).toBe('call <tool_call>now')
    expect(tokenizer.decode(tokenizer.encode('call <sep>now'))).toBe('call now')
    expect([...tokenizer.specialIds.keys()]).not.toContain('<tool_call>')
  })

  it('take white space along and keep to words as their flags say', async () => {
    const tokenizer = await open()
    const ids = (text: string) => tokenizer.encode(text)
    expect(ids('a \n<left> b')).toEqual([...ids('a'), 2041, ...ids(' b')])
    expect(ids('a <right>\t\n b')).toEqual([...ids('a '), 2042, ...ids('b')])
    expect(ids('a <word>.')).toEqual([...ids('a '), 2043, ...ids('.')])
    expect(ids('a<word>')).not.toContain(2043)
    expect(ids('<word>é')).not.toContain(2043)
  })

  it('come from added_tokens.json, too', async () => {
    const tokenizer = await open(
      {},
      {
        'added_tokens.json': { '<shown>': 2050, '<hidden>': 2051 },
        'special_tokens_map.json': {
          additional_special_tokens: ['<hidden>'],
          eos_token: '<shown>',
        },
      },
    )
    expect(tokenizer.encode('x<hidden>')).toEqual([...tokenizer.encode('x'), 2051])
    expect(tokenizer.decode([2050, 2051])).toBe('')
    expect(tokenizer).toMatchObject({ size: 2052, eosId: 2050 })
  })

  // Right values: the first text with SentencePiece, those behind <sep> without add_dummy_prefix.
  it.each([
    ['Hello<sep>world', [331, 431, 1987, 4, 2000, 275, 320]],
    ['<sep>user', [4, 409, 278]],
    ['a <sep> b', [263, 1984, 4, 273]],
    ['plain text', [597, 394, 261, 1985, 1929]],
  ])('get no space behind them with "legacy": false: %j', async (text, ids) => {
    const tokenizer = await open({ legacy: false })
    expect(tokenizer.encode(text)).toEqual(ids)
    expect(tokenizer.decode(ids, { special: true })).toBe(text)
    const stream = tokenizer.stream(4)
    expect(stream.push(273)).toBe(' b')
  })

  it.each([
    ['tokenizer_config.json', { added_tokens_decoder: { x: { content: 'a' } } }],
    ['added_tokens.json', { a: 1.5 }],
    ['added_tokens.json', { a: -1 }],
    ['added_tokens.json', { a: 1e12 }],
  ])('must have ids: %s %j', async (name, json) => {
    const error = await failure(() => open({}, { [name]: json }))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toContain(name)
  })
})

it.each([
  ['a list', ['<hidden>']],
  ['an object', { image_token: { content: '<hidden>' } }],
])('extra_special_tokens of transformers 5 are special: %s', async (_, extra) => {
  const tokenizer = await openAlone(`${tiny}/tokenizer.model`, {
    'tokenizer_config.json': { extra_special_tokens: extra },
    'added_tokens.json': { '<hidden>': 2050 },
  })
  expect(tokenizer.decode([2050])).toBe('')
})

it('tokens that tokenizer.json alone lists count beside tokenizer.model', async () => {
  const listed = { id: 2050, content: '<call>', special: false, normalized: false }
  const beside = { 'tokenizer.json': { added_tokens: [listed] } }
  const tokenizer = await openAlone(`${tiny}/tokenizer.model`, beside)
  const [, ...plain] = (await openAlone(`${tiny}/tokenizer.model`)).encode('x')
  expect(tokenizer.encode('x<call>')).toEqual([tokenizer.bosId, ...plain, 2050])
  expect(tokenizer.decode([2050])).toBe('<call>')
})

it('T5: sentinels, no BOS, one EOS', async () => {
  const dir = copyCheckpoint(fixture('tokenizer'))
  writeFileSync(path.join(dir, 'tokenizer_config.json'), '{"tokenizer_class":"T5Tokenizer"}')
  const model = path.join(dir, 'unigram.model')
  const { size } = await openAlone(model)
  renameSync(model, path.join(dir, 'spiece.model'))
  const tokenizer = (await openTokenizer(dir, anyConfig))!
  expect(tokenizer.size).toBe(size + 100)
  expect(tokenizer.encode('<extra_id_0> </s>')).toEqual([size + 99, tokenizer.eosId])
})

it('the first new token keeps its space, whichever file the tokenizer is in', async () => {
  const json = tokenizerJsonOf(`${tiny}/tokenizer.model`)
  const dir = copyCheckpoint(tiny)
  const ids = (await openTokenizer(tiny, anyConfig))!.encode('ROMEO:\nI am')
  await using a = await loadModel(tiny, { device: 'cpu', maxTokens: 64 })
  rmSync(path.join(dir, 'tokenizer.model'))
  writeFileSync(path.join(dir, 'tokenizer.json'), JSON.stringify(json))
  editJson(path.join(dir, 'tokenizer_config.json'), (config) => {
    config.tokenizer_class = 'PreTrainedTokenizerFast'
  })
  await using b = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
  const options = { maxNewTokens: 6, temperature: 0 }
  const { text } = await a.generate(ids, options)
  expect(text).toMatch(/^ /)
  expect((await b.generate(ids, options)).text).toBe(text)
})

it('a tokenizer larger than the vocabulary: what the model does not know is refused by its id', async () => {
  const dir = copyCheckpoint(tiny)
  writeFileSync(path.join(dir, 'added_tokens.json'), '{"<more>":5000}')
  await using model = await loadModel(dir, { device: 'cpu', maxTokens: 64 })
  expect(model.tokenizer!.size).toBe(5001)
  expect((await model.generate('I', { maxNewTokens: 2 })).ids).toHaveLength(2)
  const error = await failure(() => model.generate('I <more>'))
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
  expect(error.message).toContain('5000')
})
