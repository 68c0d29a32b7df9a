import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { SentencePieceProcessor } from 'sentencepiece-js'
import { describe, expect, it } from 'vitest'
import { failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { noBos, openAlone, openJson, originalCases } from '../support/tokenizers.ts'

// fixtures/tokenizer/make.py says how the originals answered.
describe.each([
  ...['bom', 'bpe-bytes', 'bpe-suffix', 'bpe-plain'],
  ...['unigram', 'unigram-bytes'],
])('SentencePiece itself: %s', (name) => {
  it('encodes and decodes alike', async () => {
    const tokenizer = await openAlone(fixture(`tokenizer/${name}.model`), noBos)
    for (const [text, ids, decoded] of originalCases(name)) {
      // <s> and </s> are tokens here, as in transformers; SentencePiece reads them as text.
      if (text !== null) expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids })
      expect({ ids, decoded: tokenizer.decode(ids) }).toEqual({ ids, decoded })
    }
  })

  it('gives the same text in a stream', async () => {
    const tokenizer = await openAlone(fixture(`tokenizer/${name}.model`), noBos)
    for (const [, ids, decoded] of originalCases(name)) {
      const stream = tokenizer.stream()
      expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(decoded)
    }
  })
})

describe.each([
  ...['gpt2', 'llama3', 'splits', 't5'],
  ...['neox', 'starcoder', 'qwen2', 'o200k', 'deepseek-v2', 'deepseek-v3'],
])('the tokenizers library: %s', (name) => {
  it('encodes and decodes alike, whole and in a stream', async () => {
    const tokenizer = await openAlone(fixture(`tokenizer/${name}.json`))
    for (const [text, ids, decoded] of originalCases(name)) {
      expect({ text, ids: tokenizer.encode(text!) }).toEqual({ text, ids })
      expect({ ids, decoded: tokenizer.decode(ids) }).toEqual({ ids, decoded })
      const stream = tokenizer.stream()
      expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(decoded)
    }
  })
})

describe('the tokenizers library: parts of a file one by one', () => {
  const { base, changes } = JSON.parse(
    readFileSync(fixture('tokenizer/components.cases.json'), 'utf8'),
  ) as { base: object; changes: [object, [string | null, number[], string][]][] }

  it.each(changes.map(([change, cases]) => [JSON.stringify(change).slice(0, 120), change, cases]))(
    '%s',
    async (_, change, cases) => {
      const tokenizer = await openJson({ ...base, ...(change as object) })
      for (const [text, ids, decoded] of cases as [string | null, number[], string][]) {
        if (text !== null) expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids })
        expect({ ids, decoded: tokenizer.decode(ids) }).toEqual({ ids, decoded })
      }
    },
  )

  it.each<[string, object, RegExp]>([
    [
      'a prefix of parts of words',
      { continuing_subword_prefix: '##' },
      /model\.continuing_subword_prefix must be null, got "##"/,
    ],
    [
      'a suffix, and no unknown token',
      { end_of_word_suffix: '</w>', unk_token: null },
      /model\.end_of_word_suffix must be null without unk_token/,
    ],
    ['merges left out by chance', { dropout: 0.1 }, /model\.dropout must be null or 0, got 0\.1/],
    [
      'some of the bytes',
      { byte_fallback: true, vocab: { '<0x41>': 0 }, merges: [] },
      /model\.vocab must be with a piece for each byte, or none, got .1 of them/,
    ],
  ])('refused by name: %s', async (_, change, message) => {
    const { model } = base as { model: object }
    const error = await failure(() => openJson({ ...base, model: { ...model, ...change } }))
    expect(error).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(message),
    })
  })
})

describe('random texts', () => {
  const nasty = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.string({ unit: 'grapheme', maxLength: 80 }),
    fc
      .array(
        fc.constantFrom(' ', '  ', '\u2581', 'the', 'ing ', '\n', 'a', '😀', '\ufeff', '<0x0A>'),
      )
      .map((parts) => parts.join('')),
  )

  it('SentencePiece and ours agree on the tiny model', async () => {
    const file = `${root}/demo/mixtral-tiny/tokenizer.model`
    const tokenizer = await openAlone(file, noBos)
    const oracle = new SentencePieceProcessor()
    await oracle.load(file)
    fc.assert(
      fc.property(nasty, (text) => {
        fc.pre(!/<(s|\/s|unk|eod|sep)>/.test(text) && !text.includes('\0'))
        expect(tokenizer.encode(text)).toEqual(oracle.encodeIds(text))
      }),
      { numRuns: 1000, seed: 1 },
    )
  })

  it('slices give the same ids', async () => {
    const tokenizers = await Promise.all([
      openAlone(`${root}/demo/mixtral-tiny/tokenizer.model`),
      openAlone(fixture('tokenizer/unigram.model')),
      openAlone(fixture('tokenizer/llama3.json')),
      openAlone(fixture('tokenizer/t5.json')),
    ])
    const long = fc.array(nasty, { minLength: 20, maxLength: 60 }).map((parts) => parts.join(''))
    await fc.assert(
      fc.asyncProperty(long, async (text) => {
        for (const tokenizer of tokenizers)
          expect(await tokenizer.encodeAsync(text)).toEqual(tokenizer.encode(text))
      }),
      { numRuns: 30, seed: 1 },
    )
  })
})
