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
