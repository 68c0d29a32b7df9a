import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChatTemplate } from '../../lib/chat/template.ts'
import { CallParser, type ParsedPiece } from '../../lib/chat/tool_calls.ts'
import { fixture } from '../support/golden.ts'

/** Reads a text that comes in these pieces. */
function read(...pieces: string[]): ParsedPiece {
  const parser = new CallParser()
  const all = [...pieces.map((piece) => parser.push(piece)), parser.end()]
  return {
    content: all.map(({ content }) => content).join(''),
    calls: all.flatMap(({ calls }) => calls),
  }
}

const add = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "</x>"}}\n</tool_call>'
const call = { name: 'add', arguments: '{"a":1,"b":"</x>"}' }

describe('calls in an answer', () => {
  it.each<[string, string, ParsedPiece]>([
    ['none', 'a < b', { content: 'a < b', calls: [] }],
    ['one', add, { content: '', calls: [call] }],
    [
      'text and two',
      `Let me see.\n${add}\n${add}\n`,
      { content: 'Let me see.\n', calls: [call, call] },
    ],
    ['text behind', `${add}\n\nDone.`, { content: 'Done.', calls: [call] }],
    ['one without its end', add.slice(0, -13), { content: '', calls: [call] }],
    ['one cut off', '<tool_call>{"name": "a', { content: '<tool_call>{"name": "a', calls: [] }],
    [
      'no JSON',
      '<tool_call>add(1)</tool_call>!',
      { content: '<tool_call>add(1)</tool_call>!', calls: [] },
    ],
    [
      'no name',
      '<tool_call>{"arguments": {}}</tool_call>',
      { content: '<tool_call>{"arguments": {}}</tool_call>', calls: [] },
    ],
    ['null', '<tool_call>null</tool_call>', { content: '<tool_call>null</tool_call>', calls: [] }],
    [
      'no arguments',
      '<tool_call>{"name": "f"}</tool_call>',
      { content: '', calls: [{ name: 'f', arguments: '{}' }] },
    ],
    ['half a tag at the end', 'a <tool_', { content: 'a <tool_', calls: [] }],
  ])('%s', (_, text, parsed) => {
    expect(read(text)).toEqual(parsed)
    expect(read(...text)).toEqual(parsed)
  })

  it('are the same however the text is cut, and none of it is lost', () => {
    const piece = fc.constantFrom(
      '<',
      '<tool_call>',
      '</tool_call>',
      add,
      'x',
      ' ',
      '\n',
      '{',
      '"name"',
    )
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 12 }),
        fc.array(fc.nat(200), { maxLength: 8 }),
        (parts, cuts) => {
          const text = parts.join('')
          const places = [0, ...cuts.map((cut) => Math.min(cut, text.length)).sort((a, b) => a - b)]
          const whole = read(text)
          expect(read(...places.map((at, i) => text.slice(at, places[i + 1])))).toEqual(whole)
          if (whole.calls.length === 0) expect(whole.content).toBe(text)
        },
      ),
      { seed: 5, numRuns: 500 },
    )
  })

  it.each([
    ['turns', 'tags'],
    ['fences', undefined],
    ['brackets', undefined],
    ['channels', undefined],
  ])('a template tells their form: %s, %s', (name, form) => {
    const text = readFileSync(fixture(`chat/${name}.jinja`), 'utf8')
    expect(new ChatTemplate({ label: name, text }, { bos_token: '' }).callForm()).toBe(form)
  })
})
