import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { renderTemplate } from '../../lib/chat/interpreter.ts'
import { strftime } from '../../lib/chat/jinja_globals.ts'
import { parseTemplate } from '../../lib/chat/jinja_nodes.ts'
import { ChatTemplate } from '../../lib/chat/template.ts'
import type { Json } from '../../lib/weights/json.ts'
import { failure } from '../support/files.ts'
import { fixture } from '../support/golden.ts'

interface Case {
  template: string
  about: string
  messages: Json[]
  tools: Json[] | null
  addGenerationPrompt: boolean
  variables: Json
  text?: string
  refusal?: string
}

const cases: Case[] = JSON.parse(readFileSync(fixture('chat/cases.json'), 'utf8'))
const roles = { bos_token: '<s>', eos_token: '</s>' }
const source = (text: string) => ({ label: 'a template', text })
const open = (name: string) =>
  new ChatTemplate(source(readFileSync(fixture(`chat/${name}.jinja`), 'utf8')), roles)
const same = (text: string) => text
const asked = {
  ...{ tools: undefined, addGenerationPrompt: true, continueFinalMessage: false, variables: {} },
  messages: [{ role: 'user', content: 'Hello!' }],
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
  vi.setSystemTime(new Date(2026, 2, 7, 9, 5))
})
afterEach(() => {
  vi.useRealTimers()
})

describe('templates give what Jinja gives', () => {
  it.each([...new Set(cases.map(({ template }) => template))])('%s', async (name) => {
    const template = open(name)
    for (const { template: of, tools, text, refusal, ...one } of cases) {
      if (of !== name) continue
      const conversation = { ...asked, ...one, tools: tools ?? undefined }
      const about = `${one.about}, ${JSON.stringify(one.variables)}, ${one.addGenerationPrompt}`
      if (refusal === undefined) expect(template.text('chat', conversation, same), about).toBe(text)
      else
        expect(await failure(() => template.text('chat', conversation, same)), about).toMatchObject(
          {
            code: 'ERR_MOE_OPTION',
            message: `chat: messages must be what a template takes, got its refusal: ${refusal}`,
          },
        )
    }
  })
})

describe('what is learned of a template', () => {
  it.each([
    ['turns', '<|im_end|>\n', true],
    ['brackets', '</s>', false],
    ['headers', '<|eot_id|>', false],
    ['fences', '<|end|>', false],
    ['channels', '<|return|>', true],
  ])('%s puts %j behind an answer; takes tools: %j', (name, end, tools) => {
    const template = open(name)
    expect(template.turnEnd()).toBe(end)
    expect(template.takesTools()).toBe(tools)
  })

  const call = '{% for c in messages[-1].tool_calls or [] %}{% set f = c.function %}'
  it.each<[string, string, string | undefined]>([
    [
      'Qwen',
      `${call}<tool_call>\n{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}\n</tool_call>{% endfor %}`,
      'tags',
    ],
    [
      'markup in the same tags, which is not read',
      `${call}<tool_call>\n<function={{ f.name }}>\n</function>\n</tool_call>{% endfor %}`,
      undefined,
    ],
    [
      'Granite, which leaves out calls of earlier turns',
      '{% if tools %}respond with <|tool_call|> followed by a list of {{ tools | tojson }}{% endif %}',
      'marked',
    ],
  ])('how calls are written: %s', (_, text, form) => {
    expect(new ChatTemplate(source(text), roles).callForm()?.name).toBe(form)
  })

  it('tools that it would not show are refused', async () => {
    const tools = [{ type: 'function', function: { name: 'add' } }]
    expect(
      await failure(() => open('fences').text('chat', { ...asked, tools }, same)),
    ).toMatchObject({
      code: 'ERR_MOE_UNSUPPORTED',
      message: expect.stringMatching(/^chat: tools must be absent/),
    })
  })

  it.each([
    ['turns', '{"a": 1}', '{"a": 1}'],
    ['turns', { a: 1 }, '{"a": 1}'],
    ['turns', 'no JSON', 'no JSON'],
    ['fences', '{"a": 1}', '{"a": 1}'],
    ['fences', { a: 1 }, '{"a":1}'],
    ['channels', '{"a": 1}', '{"a": 1}'],
  ])('%s shows the arguments %j of a call as %s', (name, given, shown) => {
    const call = { type: 'function', function: { name: 'f', arguments: given } }
    const messages = [...asked.messages, { role: 'assistant', content: '', tool_calls: [call] }]
    expect(open(name).text('chat', { ...asked, messages }, same)).toContain(shown)
  })
})

describe('a last message to be continued', () => {
  const messages = [...asked.messages, { role: 'assistant', content: 'It is ' }]
  const continued = { ...asked, messages, continueFinalMessage: true }

  it.each([
    ['brackets', '<s> [INST] Hello! [/INST] It is '],
    ['headers', expect.stringMatching(/<\|end_header_id\|>\n\nIt is$/)],
    ['turns', expect.stringMatching(/\n\nIt is $/)],
  ])('%s', (name, text) => {
    expect(open(name).text('chat', continued, same)).toEqual(text)
  })

  it('is refused where the template hides it', async () => {
    const template = new ChatTemplate(source('{{ messages[0].content }}'), roles)
    expect(await failure(() => template.text('chat', continued, same))).toMatchObject({
      code: 'ERR_MOE_OPTION',
      message: expect.stringMatching(/^chat: messages must be such that the template shows/),
    })
  })
})

// As Jinja 3.1.6 gives it, set up as in make.py.
it.each([
  ['{{ t }} {{ n }} {{ u }}|{{ list }}', "True None |[1, 'a', None, True, {'k': \"it's\"}]"],
  ["{{ 'a' ~ t ~ n ~ u ~ [1] ~ {'a': none} }}", "aTrueNone[1]{'a': None}"],
  [
    "{{ t | string }}{{ list | string | upper }}{{ [1, t, 'x'] | join('-') }}",
    "True[1, 'A', NONE, TRUE, {'K': \"IT'S\"}]1-True-x",
  ],
  ['{{ 0.5 }} {{ small }} {{ [small, 2.5, "1e-7"] | tojson }}', '0.5 1e-07 [1e-07, 2.5, "1e-7"]'],
  ["{{ '1' == 1 }}{{ '' == 0 }}{{ t == 1 }}{{ n == u }}{{ [] == '' }}", 'FalseFalseTrueFalseFalse'],
  [
    "{{ [1, {'a': 2}] == [1, {'a': 2}] }}{{ {'a': 1} != {'a': 1} }}{{ [1] in [[1]] }}{{ n in ['', none] }}",
    'TrueFalseTrueTrue',
  ],
  [
    '{% for m in [1, 2] %}{{ x is defined }}{% set x = m %}{{ x }}{% endfor %}{{ x is defined }}',
    'False1False2False',
  ],
  [
    '{% for m in [1, 2, 3] %}{{ m }}{% if m == 2 %}!{% continue %}{% endif %},{% endfor %}',
    '1,2!3,',
  ],
  ['{% for m in [1, 2, 3] %}{{ m }}{% if m == 2 %}!{% break %}{% endif %},{% endfor %}.', '1,2!.'],
  [
    String.raw`{{ '\n\n  code \n'.lstrip('\n') }}|{{ 'xxaxx'.strip('x') }}|{{ '-a-'.rstrip('-') }}`,
    '  code \n|a|-a',
  ],
  [
    String.raw`[{{ ' \x1c\x85\u3000a\ufeff '.strip() }}][{{ '\ufeffa ' | trim }}]`,
    '[a\ufeff][\ufeffa]',
  ],
  [
    "{{ {'a': 1, 'b': 2}.keys() | reject('in', ['a']) | list }}{{ [1, none, 2] | reject('none') | list }}",
    "['b'][1, 2]",
  ],
  ["{{ ['x', 'y'] | select('equalto', 'x') | list }}{{ [0, 1, ''] | select | list }}", "['x'][1]"],
  ["{{ n | default('x') }}{{ u | default('x') }}{{ n | default('x', true) }}", 'Nonexx'],
  ["{{ 'hELLO you' | capitalize }} {{ \"o'neil-mc x\" | title }}", "Hello you O'neil-Mc X"],
  ["{{ {'a': 1} is iterable }}{{ t is number }}{{ t is not number }}", 'TrueTrueFalse'],
])('%s', (template, text) => {
  const list = [1, 'a', null, true, { k: "it's" }]
  const program = parseTemplate(template)
  expect(renderTemplate(program, { t: true, n: null, list, small: 1e-7 })).toBe(text)
})

it('filters take what is not there as empty, as in Python', () => {
  const program = parseTemplate(
    "{{ x | upper }}{{ messages[0].y | trim }}{{ x | replace('a', 'b') }}[{{ x | join(',') }}]{{ x | first }}" +
      "{{ x | length }}{{ x | selectattr('role') | list | length }}{{ x | sort }}{{ x | default('d') }}" +
      "{% if messages[0].name | upper == 'X' %}x{% endif %}",
  )
  expect(renderTemplate(program, { messages: [{}] })).toBe('[]00[]d')
})

describe('templates that fail', () => {
  it.each(['{% for x in y %}', '{{ }', '{% if %}', `{{ ${'('.repeat(20_000)} }}`])(
    'no template: %.20j',
    async (text) => {
      expect(await failure(() => new ChatTemplate(source(text), roles))).toMatchObject({
        code: 'ERR_MOE_CHECKPOINT',
        message: expect.stringMatching(/^a template: template must be Jinja, got /),
      })
    },
  )

  it.each([
    ['an unknown function', '{{ nothing() }}', /got .*not a function/],
    ['an unknown filter', '{{ messages | shuffle }}', /got .*shuffle/],
    [
      'no end',
      '{% for i in range(60000) %}{% for j in range(60000) %}{{ j }}{% endfor %}{% endfor %}',
      /of work|steps/,
    ],
    ['a long range', '{{ range(1000000000) }}', /a range of 1000000000 numbers/],
    [
      'a text that doubles',
      '{% set n = namespace(s="a") %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}',
      /a text of more than \d+ characters/,
    ],
    [
      'a list that doubles',
      '{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}',
      /a list of more than \d+ items/,
    ],
    [
      'lists in lists that double',
      '{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | tojson }}',
      /lists of more than \d+ characters/,
    ],
    ['recursion', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}', /got .+/],
  ])('%s', async (_, text, got) => {
    const error = await failure(() =>
      new ChatTemplate(source(text), roles).text('chat', asked, same),
    )
    expect(error).toMatchObject({ name: 'MoeError', code: 'ERR_MOE_UNSUPPORTED' })
    expect(error.message).toMatch(/^chat: a template must render these messages, got /)
    expect(error.message).toMatch(got)
  })

  it('cannot reach what is not theirs', () => {
    const program = parseTemplate('{{ x.constructor }}|{{ process }}|{{ [].__proto__ }}')
    expect(renderTemplate(program, { x: {} })).toBe('||')
  })
})

it('dates are those of the C locale, whatever the system’s', () => {
  const date = new Date(2026, 4, 3, 7, 8, 9)
  expect(strftime('%Y-%m-%d %y %H:%M:%S %a %A %b %B %% %Q', date)).toBe(
    '2026-05-03 26 07:08:09 Sun Sunday May May % %Q',
  )
})
