import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { renderTemplate } from '../../lib/chat/interpreter.ts'
import { parseTemplate } from '../../lib/chat/jinja_nodes.ts'
import { ChatTemplate } from '../../lib/chat/template.ts'
import type { Json } from '../../lib/weights/json.ts'
import { fixture } from '../support/golden.ts'

interface Cases {
  variables: Json
  /** Without a text Jinja refuses it. */
  cases: { template: string; text?: string }[]
}

const { variables, cases }: Cases = JSON.parse(
  readFileSync(fixture('chat/expressions.json'), 'utf8'),
)

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(new Date(2026, 2, 7, 9, 5))
})
afterEach(() => {
  vi.useRealTimers()
})

it('expressions and statements give what Jinja gives, or fail where it does', () => {
  for (const { template, text } of cases) {
    const render = () => renderTemplate(parseTemplate(template), variables)
    if (text === undefined) expect(render, template).toThrow()
    else expect(render(), template).toBe(text)
  }
})

it.each([
  ['a filter', '{{ "a" | wordcount }}', /filter wordcount is not known/],
  ['a method', '{{ "a".encode() }}', /encode must be a function/],
  ['a list that is changed', '{% set l = [1] %}{{ l.append(2) }}', /append must be a function/],
  ['comparisons in a chain', '{{ 1 < 2 < 3 }}', /must not be chained/],
  ['a long text', '{{ "a" * 100000000 }}', /a text of more than/],
  ['a wide text', '{{ "a".rjust(100000000) }}', /a text of more than/],
  ['a long list', '{{ [1] * 100000000 }}', /a list of more than/],
])('%s that is not run is refused, not guessed', (_, template, message) => {
  expect(() => renderTemplate(parseTemplate(template), {})).toThrow(message)
})

describe('a conversation', () => {
  const render = (template: string, message: Json) =>
    new ChatTemplate({ label: 'a template', text: template }, {}).text(
      'chat',
      {
        messages: [{ role: 'user', content: 'x' }, message],
        ...{ tools: undefined, addGenerationPrompt: false, continueFinalMessage: false },
        variables: {},
      },
      (text) => text,
    )
  const calling = (json: string, content: string | null = ''): Json => ({
    ...{ role: 'assistant', content },
    tool_calls: [{ type: 'function', function: { name: 'f', arguments: json } }],
  })

  it.each([
    ['2512292042121000001', '2512292042121000001'],
    ['-2512292042121000001', '-2512292042121000001'],
    ['2.0', '2.0'],
    ['2.50', '2.5'],
    ['1e2', '100.0'],
    ['1e400', 'Infinity'],
    ['"2.0 \\" 1e2"', '"2.0 \\" 1e2"'],
    ['7', '7'],
  ])('shows the number %s of a call as Python does', (number, shown) => {
    const template =
      '{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}'
    expect(render(template, calling(`{"id": [${number}]}`))).toBe(`{"id": [${shown}]}`)
  })

  const turns =
    '{% for m in messages %}[{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}]{% endfor %}'
  const asking =
    '{% for m in messages %}{{ "calls" if m.content is none else m.content }}{{ m.tool_calls | tojson if m.tool_calls }}{% endfor %}'
  it('without content does not show the word None', () => {
    expect(render(turns, calling('{}', null))).toMatch(/^\[x\]\[\[/)
    expect(render(asking, calling('{}', null))).toMatch(/^xcalls\[/)
  })
})
