import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openTokenizer } from '../../lib/tokenizer/index.ts'
import { hasPatterns, stepsWithin, within } from '../../lib/tokenizer/patterns.ts'
import { failure, temporaryFolder } from '../support/files.ts'
import { root } from '../support/golden.ts'
import { tokenizerJsonOf } from '../support/tokenizer_json.ts'
import { anyConfig } from '../support/tokenizers.ts'

const published: Record<string, string> = {
  'Llama 3':
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  Qwen2:
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  'gpt-oss':
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  'DeepSeek-V3':
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
}

const base = tokenizerJsonOf(`${root}/demo/moepp-tiny/tokenizer.model`)
const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated' })
const replace = (Regex: string) => ({ type: 'Replace', pattern: { Regex }, content: '' })
const open = async (change: object) => {
  const dir = temporaryFolder()
  writeFileSync(path.join(dir, 'tokenizer.json'), JSON.stringify({ ...base, ...change }))
  return (await openTokenizer(dir, anyConfig))!
}

const letters = 'a'.repeat(40)

async function inTime(call: () => unknown): Promise<void> {
  const error = await failure(call)
  expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
  expect(error.message).toMatch(/^tokenizer\.json: regular expressions must end in time, got /)
}

describe('patterns of a tokenizer.json', () => {
  it.each<[string, RegExp, string]>([
    ['exponential', /(a+)+b/gu, letters],
    ['exponential by choice', /(a|aa)+$/gu, `${letters.repeat(3)}b`],
    ['exponential by counts', /(?:(?:(?:a{0,999}){0,999}){0,999}){0,999}b/gu, letters],
    ['polynomial', /\s*\s*\s*\s*x/gu, ' '.repeat(3000)],
    ['looking ahead', /(?=(a*)*c)a/gu, letters],
  ])('are ended: %s', async (_, pattern, text) => {
    await inTime(() => within({ left: 20 }, () => pattern.exec(text)))
  })

  it('share the time of one text', async () => {
    const parts = (function* () {
      for (;;) yield /(a+)+b/u.test('a'.repeat(16)) || undefined
    })()
    await inTime(() => {
      for (const part of stepsWithin({ left: 20 }, parts)) expect(part).toBeUndefined()
    })
  })

  it('what they throw comes through, and a later call works', async () => {
    const time = { left: 1000 }
    const error = new RangeError('x')
    const thrown = await failure(() =>
      within(time, () => {
        throw error
      }),
    )
    expect(thrown).toBe(error)
    expect(within(time, () => 5)).toBe(5)
  })

  it('are looked for wherever they stand', () => {
    expect(hasPatterns(null)).toBe(false)
    expect(hasPatterns({ type: 'Replace', pattern: { String: 'a' } })).toBe(false)
    expect(hasPatterns({ pretokenizers: [{ type: 'Digits' }, split('a')] })).toBe(true)
  })

  it('too long to compile are refused', async () => {
    const error = await failure(() => open({ pre_tokenizer: split('a|'.repeat(5001)) }))
    expect(error.code).toBe('ERR_MOE_CHECKPOINT')
    expect(error.message).toContain('regular expressions of 10002 units')
  })

  it.each(Object.entries(published))('that are published run freely: %s', (_, pattern) => {
    expect(hasPatterns(split(pattern))).toBe(false)
    expect(hasPatterns(split(`${pattern} `))).toBe(true)
  })

  it('give the same ids watched or not, at once and in slices', async () => {
    const pattern = published['Llama 3']!
    const free = await open({ pre_tokenizer: split(pattern) })
    const watched = await open({ pre_tokenizer: split(`${pattern}|x{9}`) })
    const text = "I'll say 12345 words,\n\n  and\té∞ more…   ".repeat(60)
    const ids = free.encode(text)
    expect(ids).not.toEqual((await open({})).encode(text))
    for (const tokenizer of [free, watched]) {
      expect(await tokenizer.encodeAsync(text)).toEqual(ids)
      expect(tokenizer.encode(text)).toEqual(ids)
      expect(tokenizer.decode(ids)).toBe(text)
    }
  })
})

describe('a hostile tokenizer.json ends', () => {
  it('when it splits', async () => {
    const tokenizer = await open({ pre_tokenizer: split('(a+)+b') })
    await inTime(() => tokenizer.encode(letters))
    expect(tokenizer.decode(tokenizer.encode('aab a'))).toBe('aab a')
  })
  it('when it normalizes in slices', async () => {
    const tokenizer = await open({ normalizer: replace('(a|aa)+$') })
    await inTime(() => tokenizer.encodeAsync(`${letters.repeat(30)}b`))
  })
  it('when it decodes', async () => {
    const decoders = [{ type: 'Fuse' }, replace('(a+)+b')]
    const tokenizer = await open({ decoder: { type: 'Sequence', decoders } })
    await inTime(() => tokenizer.decode(tokenizer.encode(letters)))
  })
})
