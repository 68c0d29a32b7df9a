import { describe, expect, it } from 'vitest'
import type { Tokenizer } from '../../lib/tokenizer/index.ts'
import { failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'
import { openAlone } from '../support/tokenizers.ts'

const files = {
  'a SentencePiece BPE': `${root}/models/mixtral-tiny/tokenizer.model`,
  'a SentencePiece unigram model': fixture('tokenizer/unigram.model'),
  'a tokenizer.json': fixture('tokenizer/llama3.json'),
}

/** Places where encoding may pause. */
function countPauses(tokenizer: Tokenizer, text: string): number {
  let pauses = 0
  for (const _ of (tokenizer as any).encodeSteps(text, true)) pauses++
  return pauses
}

describe.each(Object.entries(files))('a long text with %s', (_, file) => {
  it.each(['The quick brown fox. ', 'a', ' ', '😀', 'é\u0301', '写'])(
    'pauses at least every 16384 units: %j',
    async (unit) => {
      const tokenizer = await openAlone(file)
      const text = unit.repeat(200_000 / unit.length)
      expect(countPauses(tokenizer, text)).toBeGreaterThan(text.length / 16_384)
      let turns = 0
      setImmediate(() => turns++)
      await tokenizer.encodeAsync(text)
      expect(turns).toBe(1)
    },
  )

  it('is left when the signal says so', async () => {
    const tokenizer = await openAlone(file)
    const controller = new AbortController()
    const text = 'one two three '.repeat(50_000)
    const work = failure(() => tokenizer.encodeAsync(text, { signal: controller.signal }))
    setImmediate(() => setImmediate(() => controller.abort(new Error('enough'))))
    expect((await work).message).toBe('enough')
    const never = failure(() => tokenizer.encodeAsync('x', { signal: controller.signal }))
    expect((await never).message).toBe('enough')
  })
})

it('many long texts at once come to the same ids', async () => {
  const tokenizer = await openAlone(files['a SentencePiece BPE'])
  const texts = Array.from({ length: 8 }, (_, i) => `${i} text ${'x'.repeat(70 + i)} `.repeat(300))
  const all = await Promise.all(texts.map((text) => tokenizer.encodeAsync(text)))
  expect(all).toEqual(texts.map((text) => tokenizer.encode(text)))
})
