import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { loadModel } from '../../lib/index.ts'
import { openTokenizer, type Tokenizer } from '../../lib/tokenizer/index.ts'
import { copyCheckpoint, failure, temporaryFolder } from '../support/files.ts'
import { fixture } from '../support/golden.ts'
import { anyConfig } from '../support/tokenizers.ts'

/** A byte-level BPE without merges: one token a byte, as GPT-2 spells bytes, and two special tokens. */
function byteTokenizer(): Record<string, unknown> {
  const printable = [...Array(256).keys()].filter(
    (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174,
  )
  let next = 256
  const spelling = Array.from({ length: 256 }, (_, b) =>
    String.fromCharCode(printable.includes(b) ? b : next++),
  )
  const vocab = Object.fromEntries(spelling.map((text, id) => [text, id]))
  const added = (id: number, content: string) => ({
    ...{
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    },
  })
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [added(256, '<s>'), added(257, '</s>')],
    normalizer: null,
    pre_tokenizer: {
      type: 'ByteLevel',
      add_prefix_space: false,
      trim_offsets: true,
      use_regex: true,
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', dropout: null, unk_token: null, vocab, merges: [] },
  }
}

function folderWith(json: unknown): string {
  const dir = temporaryFolder()
  writeFileSync(path.join(dir, 'tokenizer.json'), JSON.stringify(json))
  writeFileSync(
    path.join(dir, 'tokenizer_config.json'),
    JSON.stringify({ bos_token: '<s>', eos_token: '</s>', tokenizer_class: 'GPT2Tokenizer' }),
  )
  return dir
}

describe('tokenizer.json', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = (await openTokenizer(folderWith(byteTokenizer()), anyConfig))!
  })

  it.each(['plain text', 'naïve 写 😀👩‍👩‍👧', ' spaces  and\nlines\n'])(
    'round trip and streaming: %j',
    (text) => {
      const ids = tokenizer.encode(text)
      expect(ids).toEqual([...new TextEncoder().encode(text)])
      expect(tokenizer.decode(ids)).toBe(text)
      const stream = tokenizer.stream()
      const pieces = ids.map((id) => stream.push(id))
      expect(pieces.some((piece) => piece.includes('\ufffd'))).toBe(false)
      expect(pieces.join('') + stream.end()).toBe(text)
    },
  )

  it('special tokens, names and size', () => {
    expect(tokenizer).toMatchObject({ size: 258, bosId: 256, eosId: 257 })
    expect(tokenizer.encode('a</s>')).toEqual([97, 257])
    expect(tokenizer.decode([97, 257])).toBe('a')
    expect(tokenizer.decode([97, 257], { special: true })).toBe('a</s>')
  })

  it('half a character at the end is U+FFFD', () => {
    const stream = tokenizer.stream()
    expect(stream.push(0xf0)).toBe('')
    expect(stream.end()).toBe('\ufffd')
  })

  it('a damaged file is an error that names it', async () => {
    const error = await failure(() => openTokenizer(folderWith({ nonsense: true }), anyConfig))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(/tokenizer\.json/)
  })

  it.each([
    ['normalizer', { type: 'Replace', pattern: { Glob: '*' }, content: '' }],
    ['decoder', { type: 'Sequence', decoders: [{ type: 'Replace', pattern: {}, content: '' }] }],
    ['pre_tokenizer', { type: 'Split', behavior: 'Isolated', invert: false }],
  ])('a %s without a pattern is refused, and nothing is printed', async (part, json) => {
    const print = vi.spyOn(console, 'warn')
    const dir = folderWith({ ...byteTokenizer(), [part]: json })
    expect(await failure(() => openTokenizer(dir, anyConfig))).toMatchObject({
      ...{ code: 'ERR_MOE_CHECKPOINT', message: expect.stringContaining('without a pattern') },
    })
    expect(print).not.toHaveBeenCalled()
    print.mockRestore()
  })

  it('a model with one generates text, and draws no id that it cannot produce', async () => {
    const dir = copyCheckpoint(fixture('golden/mixtral/window-f32'))
    const vocabSize = (
      await loadModel(dir, { device: 'cpu', maxTokens: 32 }).then(async (m) => [
        m.config.vocabSize,
        await m.dispose(),
      ])
    )[0] as number
    const json = byteTokenizer() as {
      added_tokens: unknown[]
      model: { vocab: Record<string, number> }
    }
    // Only the first hundred bytes: the model's vocabulary is larger.
    json.added_tokens = []
    json.model.vocab = Object.fromEntries(
      Object.entries(json.model.vocab).filter(([, id]) => id < 100),
    )
    writeFileSync(path.join(dir, 'tokenizer.json'), JSON.stringify(json))
    await using model = await loadModel(dir, { device: 'cpu', maxTokens: 256 })
    expect(vocabSize).toBeGreaterThan(100)
    const { ids, text } = await model.generate([1, 2, 3], {
      maxNewTokens: 100,
      temperature: 5,
      seed: 3,
      stopIds: [],
    })
    expect(Math.max(...ids)).toBeLessThan(100)
    expect(text.length).toBeGreaterThan(0)
  })
})
