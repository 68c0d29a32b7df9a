import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSafetensors } from '../../lib/weights/safetensors.ts'
import { failure, temporaryFolder } from '../support/files.ts'

/** A file that is a header and nothing else. */
function headerFile(json: string): string {
  const file = path.join(temporaryFolder(), 'model.safetensors')
  const text = Buffer.from(json)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(file, Buffer.concat([length, text]))
  return file
}
const names = (json: string) => [...openSafetensors([headerFile(json)]).keys()]
const empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'

describe('a header of any content', () => {
  it.each([
    ['a long text', 'a'.repeat(9e6)],
    ['many escapes', '\\\\'.repeat(4e6)],
    ['many quotes', '\\"'.repeat(4e6)],
    ['brackets and names in a text', '{[\\"w\\":1,}'.repeat(1e5)],
  ])('%s', (_, text) => {
    expect(names(`{"__metadata__":{"x":"${text}","w":"1"},"w":${empty}}`)).toEqual(['w'])
  })

  it('300,000 names', () => {
    const all = Array.from({ length: 300_000 }, (_, i) => `"n${i}":${empty}`).join()
    expect(names(`{${all}}`).length).toBe(300_000)
  })

  it('names that every object has', () => {
    const json = `{"__proto__":${empty},"constructor":${empty},"":${empty}}`
    expect(names(json)).toEqual(['__proto__', 'constructor', ''])
  })

  it.each([
    [
      'the last of 300,000',
      `${Array.from({ length: 300_000 }, (_, i) => `"n${i}":${empty}`)},"n7"`,
    ],
    ['written in another way', `"a\\"b":${empty} , "a\\u0022b" `],
    ['behind an escaped backslash', `"a\\\\":${empty},"a\\\\"`],
    ['behind a text that ends in one', `"__metadata__":{"x":"\\\\"},"w":${empty},"w"`],
  ])('a name given twice: %s', async (_, entries) => {
    const error = await failure(() => names(`{${entries}:${empty}}`))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message).toMatch(/must be named once, got two entries/)
  })

  it.each([
    ['a dtype that is deep', `{"w":{"dtype":${'['.repeat(1e6)}${']'.repeat(1e6)}}}`],
    [
      'a shape that is long',
      `{"w":{"dtype":"F32","shape":[${'1,'.repeat(1e6)}9],"data_offsets":[0,4]}}`,
    ],
    [
      'sizes without end',
      `{"w":{"dtype":"F32","shape":[${'9007199254740991,'.repeat(30)}0],"data_offsets":[0,0]}}`,
    ],
    ['a name that is long', `{"${'n'.repeat(1e6)}":1}`],
  ])('%s: an error of a length to read', async (_, json) => {
    const error = await failure(() => names(json))
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_CHECKPOINT' })
    expect(error.message.length).toBeLessThan(600)
  })
})
