import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CallForm, callFormOf, list, tags } from '../../lib/chat/call_forms.ts'
import { ChatTemplate } from '../../lib/chat/template.ts'
import { parserOf } from '../../lib/chat/tool_calls.ts'
import { fixture } from '../support/golden.ts'

interface Read {
  content: string
  reasoning?: string
  calls: { name: string; arguments: string }[]
}

/** Reads a text that comes in these pieces. */
function readAs(form: CallForm, ...pieces: string[]): Read {
  const parser = parserOf(form)
  const all = [...pieces.map((piece) => parser.push(piece)), parser.end()]
  const calls: Read['calls'] = []
  for (const { index, name, arguments: given } of all.flatMap((piece) => piece.calls)) {
    if (name !== undefined) calls.push({ name, arguments: '' })
    expect(index).toBe(calls.length - 1)
    calls[index]!.arguments += given
  }
  const reasoning = all.map((piece) => piece.reasoning ?? '').join('')
  const content = all.map((piece) => piece.content).join('')
  return { content, calls, ...(reasoning !== '' && { reasoning }) }
}
const read = (...pieces: string[]): Read => readAs(tags, ...pieces)

/** The form of a template that shows a call like this. */
const formOf = (shown: string): CallForm => callFormOf(shown)!

const add = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "</x>"}}\n</tool_call>'
const call = { name: 'add', arguments: '{"a": 1, "b": "</x>"}' }

describe('calls in an answer', () => {
  it.each<[string, string, Read]>([
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
    [
      'members in another order',
      '<tool_call>{"arguments": {"a": [1]}, "name": "f"}</tool_call>',
      { content: '', calls: [{ name: 'f', arguments: '{"a":[1]}' }] },
    ],
    [
      'a tag in an argument',
      '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>\\"}"}}</tool_call>x',
      { content: 'x', calls: [{ name: 'f', arguments: '{"a": "</tool_call>\\"}"}' }] },
    ],
    [
      'arguments that are cut off',
      '<tool_call>{"name": "f", "arguments": {"a": "b',
      { content: '', calls: [{ name: 'f', arguments: '{"a": "b' }] },
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

  it('arguments come as they are written', () => {
    const parser = parserOf(tags)
    expect(parser.push('<tool_call>{"name": "f", "arguments": {"a"').calls).toEqual([
      { index: 0, name: 'f', arguments: '' },
      { index: 0, arguments: '{"a"' },
    ])
    expect(parser.push(': 1').calls).toEqual([{ index: 0, arguments: ': 1' }])
    expect(parser.push('}}').calls).toEqual([{ index: 0, arguments: '}' }])
  })

  const one = { name: 'f', arguments: '{"a": {"b": "]"}}' }
  const two = [one, { name: 'g.h', arguments: '{}' }]
  const listed = '[{"name": "f", "arguments": {"a": {"b": "]"}}}, {"name": "g.h", "arguments": {}}]'
  // By the text that a template shows of a call, and an answer.
  it.each<[string, string, string, Read]>([
    ['Mistral', '[TOOL_CALLS]', `[TOOL_CALLS]${listed}`, { content: '', calls: two }],
    [
      'Mistral, later',
      '[TOOL_CALLS]',
      'So:[TOOL_CALLS]f[ARGS]{"a": {"b": "]"}}[TOOL_CALLS]g.h{}',
      { content: 'So:', calls: two },
    ],
    ['Granite', '<|tool_call|>', `<|tool_call|>${listed}\n`, { content: '', calls: two }],
    [
      'DeepSeek V3',
      '<｜tool▁call▁begin｜><｜tool▁call▁end｜>',
      'Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"a": {"b": "]"}}\n```<｜tool▁call▁end｜>\n' +
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>g.h\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
      { content: 'Hm.', calls: two },
    ],
    [
      'DeepSeek V3.1',
      '<｜tool▁call▁begin｜><｜tool▁call▁end｜>',
      '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": {"b": "]"}}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
      { content: '', calls: [one] },
    ],
    [
      'gpt-oss',
      '<|channel|>',
      '<|channel|>analysis<|message|>Well.<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": {"b": "]"}}<|call|>' +
        '<|start|>assistant to=functions.g.h<|channel|>commentary json<|message|>{}<|call|>',
      { content: '', reasoning: 'Well.', calls: two },
    ],
    [
      'gpt-oss, an answer',
      '<|channel|>',
      '<|channel|>analysis<|message|>a<|b<|end|><|start|>assistant<|channel|>final<|message|>Done <|x|>.',
      { content: 'Done <|x|>.', reasoning: 'a<|b', calls: [] },
    ],
    [
      'gpt-oss, a marker that is none',
      '<|channel|>',
      '<|x|><|channel|>analysis<|message|>Hm.<|y|><|end|><|start|>assistant<|message|>Yes.',
      { content: 'Yes.', reasoning: 'Hm.<|y|>', calls: [] },
    ],
    ['gpt-oss without channels', '<|channel|>', 'Plain.', { content: 'Plain.', calls: [] }],
    ['no call', '[TOOL_CALLS]', 'I [TOOL] x', { content: 'I [TOOL] x', calls: [] }],
  ])('%s', (_, shown, text, parsed) => {
    expect(readAs(formOf(shown), text)).toEqual(parsed)
    expect(readAs(formOf(shown), ...text)).toEqual(parsed)
  })

  it('a list alone, as a constraint makes it', () => {
    expect(readAs(list, listed)).toEqual({ content: '', calls: two })
    expect(readAs(list, ...listed)).toEqual({ content: '', calls: two })
  })

  it.each([
    ['turns', 'tags'],
    ['fences', undefined],
    ['brackets', undefined],
    ['channels', 'channels'],
  ])('a template tells their form: %s, %s', (name, form) => {
    const text = readFileSync(fixture(`chat/${name}.jinja`), 'utf8')
    expect(new ChatTemplate({ label: name, text }, { bos_token: '' }).callForm()?.name).toBe(form)
  })
})
