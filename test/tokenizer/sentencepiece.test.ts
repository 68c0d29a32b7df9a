import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { SentencePieceProcessor } from 'sentencepiece-js'
import { beforeAll, describe, expect, it } from 'vitest'
import { describeModel } from '../../lib/models/index.ts'
import { openTokenizer, type Tokenizer } from '../../lib/tokenizer/index.ts'
import { copyCheckpoint, editJson, failure, temporaryFolder } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { openAlone } from '../support/tokenizers.ts'

const dir = `${root}/demo/moepp-tiny`
const configOf = (folder: string) =>
  describeModel(JSON.parse(readFileSync(`${folder}/config.json`, 'utf8'))).config
const texts = [
  'To be, or not to be: that is the question.\n',
  '  two leading spaces, and two behind  ',
  'tab\tand newline\n\n',
  'naïve café — “quotes” …',
  '写一篇春游作文',
  'emoji 😀👩‍👩‍👧 and \u0000 NUL',
  '▁ already there',
  '<0x41> <unk> is text here',
  'a'.repeat(300),
]

describe('the tiny SentencePiece model', () => {
  let tokenizer: Tokenizer
  const oracle = new SentencePieceProcessor()
  beforeAll(async () => {
    tokenizer = (await openTokenizer(dir, configOf(dir)))!
    await oracle.load(`${dir}/tokenizer.model`)
  })

  it.each(texts.filter((text) => !text.includes('<unk>')))(
    'encodes as sentencepiece itself: %j',
    (text) => {
      expect(tokenizer.encode(text)).toEqual(oracle.encodeIds(text))
    },
  )

  // SentencePiece spells a space as U+2581, so that character itself comes back as a space.
  it.each(texts.filter((text) => !/<unk>|\u2581/.test(text)))('decodes to the text: %j', (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
  })

  it('any text goes there and back, whole and streamed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        fc.pre(!/\u2581|<unk>|<\/?s>|<eod>|<sep>/.test(text))
        const ids = tokenizer.encode(text)
        const stream = tokenizer.stream()
        const pieces = ids.map((id) => stream.push(id))
        expect(pieces.every((piece) => !piece.includes('\ufffd') || text.includes('\ufffd'))).toBe(
          true,
        )
        expect(pieces.join('') + stream.end()).toBe(text)
        expect(tokenizer.decode(ids)).toBe(text)
      }),
      { numRuns: 500, seed: 1 },
    )
  })

  it('special tokens become their id wherever they stand, and are left out unless asked for', () => {
    const ids = tokenizer.encode('one<sep>two<eod>')
    expect(ids).toEqual([...tokenizer.encode('one'), 4, ...tokenizer.encode('two'), 3])
    expect(tokenizer.decode(ids)).toBe('onetwo')
    expect(tokenizer.decode(ids, { special: true })).toBe('one<sep>two<eod>')
  })

  it('BOS and EOS come as tokenizer_config.json says, and not at all when told so', async () => {
    const copy = copyCheckpoint(dir)
    const plain = tokenizer.encode('text')
    editJson(`${copy}/tokenizer_config.json`, (json) =>
      Object.assign(json, { add_bos_token: true, add_eos_token: true }),
    )
    const both = (await openTokenizer(copy, configOf(dir)))!
    expect(both.encode('text')).toEqual([1, ...plain, 3])
    expect(both.encode('text', { addSpecialTokens: false })).toEqual(plain)
    editJson(`${copy}/tokenizer_config.json`, (json) => delete json.add_bos_token)
    expect((await openTokenizer(copy, configOf(dir)))!.encode('text')[0]).toBe(1) // LlamaTokenizer's default
  })

  it('half a character waits; at the end each byte of it is U+FFFD, as in SentencePiece', () => {
    const ids = tokenizer.encode('写')
    const stream = tokenizer.stream()
    expect(
      ids
        .slice(0, -1)
        .map((id) => stream.push(id))
        .join(''),
    ).toBe('')
    expect(stream.end()).toBe('\ufffd'.repeat(ids.length - 2)) // without the space and the last byte
  })

  it.each([
    ['encode', (t: any) => t.encode(5)],
    ['encode', (t: any) => t.encode('a', null)],
    ['encode', (t: any) => t.encode('a', { addSpecialTokens: 'no' })],
    ['encodeAsync', (t: any) => t.encodeAsync(undefined)],
    ['decode', (t: any) => t.decode()],
    ['decode', (t: any) => t.decode('text')],
    ['decode', (t: any) => t.decode(5)],
    ['decode', (t: any) => t.decode([1, '2'])],
    ['decode', (t: any) => t.decode([1.5])],
    ['decode', (t: any) => t.decode([1], { special: 1 })],
    ['stream', (t: any) => t.stream('x')],
    ['push', (t: any) => t.stream().push(null)],
  ])('what is no argument for %s is a MoeError', async (where, call) => {
    const json = await openAlone(fixture('tokenizer/gpt2.json'))
    for (const one of [tokenizer, json]) {
      const error = await failure(() => call(one))
      expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_OPTION' })
      expect(error.message).toMatch(new RegExp(`^${where}: .* must be .*, got `))
    }
  })

  it('an empty text has no tokens, an unknown id no text', () => {
    expect(tokenizer.encode('')).toEqual([])
    expect(tokenizer.decode([999999, -1])).toBe('')
  })
})

describe('files that are no SentencePiece model', () => {
  it.each([
    ['empty', new Uint8Array(0), 'ERR_MOE_CHECKPOINT'],
    ['garbage', Uint8Array.of(0xff, 0xff, 0xff, 0xff), 'ERR_MOE_CHECKPOINT'],
    ['truncated', readFileSync(`${dir}/tokenizer.model`).subarray(0, 1000), 'ERR_MOE_CHECKPOINT'],
    // One piece "a" of type unknown (2), and a trainer specification of type word (3).
    [
      'a kind of words',
      Uint8Array.of(10, 5, 10, 1, 97, 24, 2, 18, 2, 24, 3),
      'ERR_MOE_UNSUPPORTED',
    ],
    ['no unknown piece', Uint8Array.of(10, 3, 10, 1, 97, 18, 2, 24, 1), 'ERR_MOE_CHECKPOINT'],
    ['a piece twice', Uint8Array.of(10, 3, 10, 1, 97, 10, 3, 10, 1, 97), 'ERR_MOE_CHECKPOINT'],
    [
      'a score that is no number',
      Uint8Array.of(10, 8, 10, 1, 97, 21, 0, 0, 192, 127),
      'ERR_MOE_CHECKPOINT',
    ],
    ['an empty piece', Uint8Array.of(10, 2, 24, 2), 'ERR_MOE_CHECKPOINT'],
    // A normalizer whose character map is two bytes long.
    [
      'half a map',
      Uint8Array.of(10, 5, 10, 1, 97, 24, 2, 26, 4, 18, 2, 0, 0),
      'ERR_MOE_CHECKPOINT',
    ],
  ])('%s', async (_, bytes, code) => {
    const folder = temporaryFolder()
    writeFileSync(path.join(folder, 'tokenizer.model'), bytes)
    const error = await failure(() => openTokenizer(folder, configOf(dir)))
    expect(error).toMatchObject({ name: 'MoeError', code })
    expect(error.message).toMatch(/tokenizer\.model/)
  })

  it('a folder of that name', async () => {
    const folder = temporaryFolder()
    mkdirSync(path.join(folder, 'tokenizer.model'))
    const error = await failure(() => openTokenizer(folder, configOf(dir)))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(/tokenizer\.model: file must be readable, got a folder/)
  })
})

// The publisher's tokenizer may not be copied into this repository; it is beside it where this library is developed.
const published = path.resolve(root, '../shared/data/yuan-tokenizer')

describe.skipIf(!existsSync(published))(
  'the published Yuan tokenizer (only where ../shared is)',
  () => {
    const { samples, special_tokens: special } = JSON.parse(
      readFileSync(fixture('golden/yuan/tokenizer-samples.json'), 'utf8'),
    ) as { samples: { text: string; ids: number[] }[]; special_tokens: Record<string, number> }
    const yuan = describeModel({
      ...JSON.parse(readFileSync(`${root}/demo/yuan-tiny/config.json`, 'utf8')),
      vocab_size: 135040,
    }).config
    let tokenizer: Tokenizer
    beforeAll(async () => {
      tokenizer = (await openTokenizer(published, yuan))!
    })

    it('knows the special tokens that are in no file', () => {
      for (const [text, id] of Object.entries(special))
        expect(tokenizer.specialIds.get(text)).toBe(id)
      expect(tokenizer.size).toBe(134958)
      expect(tokenizer.eosId).toBe(77185)
    })

    it('gives the published ids, and the text back', () => {
      for (const { text, ids } of samples) {
        expect(tokenizer.encode(text)).toEqual(ids)
        expect(tokenizer.decode(ids, { special: true })).toBe(text)
      }
    })
  },
)
