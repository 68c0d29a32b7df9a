// Texts that checkpoints, models and clients give: chat templates, answers with calls, schemas, requests.
import assert from 'node:assert/strict'
import { callFormOf, list } from '../../../build/modules/chat/call_forms.js'
import { ChatTemplate } from '../../../build/modules/chat/template.js'
import { parserOf } from '../../../build/modules/chat/tool_calls.js'
import { constraintGrammar } from '../../../build/modules/constraints/constraint.js'
import { MoeError } from '../../../build/modules/errors.js'
import { loadModel } from '../../../build/modules/load.js'
import { answerOffline, offlineRoutes } from '../../../build/modules/server/offline.js'
import { serving } from '../../../build/modules/server/serving.js'
import { mutateBytes, mutateJson } from '../mutate.mjs'
import { json, read, root } from './inputs.mjs'

const templates = ['turns', 'headers', 'brackets', 'fences', 'channels'].map((name) =>
  read(`fixtures/chat/${name}.jinja`),
)
const statements =
  `{%- for x in range(9) -%} {%- endfor %} {%- if tools %} {%- else %} {%- endif %} {{ messages[0] }}
  {%- set ns = namespace(a=1) %} {%- set ns.a = ns.a + 1 %} {{ raise_exception('no') }} {{ x|tojson(indent=4) }}
  {{ x.items()|list }} {{ strftime_now('%d %b %Y') }} {%- macro f(x) %} {%- endmacro %} {{ f(f) }} {%- break %} {# #}
  {{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ ''.join(messages) }} {{ 'a' * 3 }} {{ a.b.c }}
  {{ messages[::-1] }} {{ x is defined and not x }} {{ loop.index0 % 2 }} {{ 'x'.split('')[0].strip() }}`
    .split(/(?<=[%}#]}) /)
    .map((text) => Buffer.from(text.trim()))
const conversations = json('fixtures/chat/cases.json')

export function template(random) {
  const bytes = mutateBytes(random, random.of(templates), random.rarely(3) ? templates : statements)
  const { messages, tools, variables } = random.of(conversations)
  const run = () => {
    const roles = { bos_token: '<s>', eos_token: '</s>' }
    const made = new ChatTemplate({ label: 'chat_template', text: bytes.toString() }, roles)
    made.callForm()
    assert(typeof made.turnEnd() === 'string')
    const asked = { messages, tools: tools ?? undefined, variables, continueFinalMessage: false }
    const text = made.text('generate', { ...asked, addGenerationPrompt: true }, (text) => text)
    assert(typeof text === 'string')
  }
  return { bytes, run }
}

const forms = [
  list,
  ...['<tool_call>{}</tool_call>', '[TOOL_CALLS]', '<|tool_call|>', '<|channel|>'].map(callFormOf),
  callFormOf('<｜tool▁call▁begin｜><｜tool▁call▁end｜>'),
]
const fragments = [
  ...'<tool_call> </tool_call> [TOOL_CALLS] [ARGS] [CALL_ID] <|tool_call|> [ ] , { } " \\ x < <| |>'.split(
    ' ',
  ),
  ...'<｜tool▁calls▁begin｜> <｜tool▁call▁begin｜> <｜tool▁sep｜> <｜tool▁call▁end｜> <｜tool▁calls▁end｜>'.split(
    ' ',
  ),
  ...['start', 'channel', 'message', 'constrain', 'end', 'call', 'return', 'x'].map(
    (name) => `<|${name}|>`,
  ),
  ...'analysis commentary final json assistant to=functions.f function f ```json\n \n```'.split(
    ' ',
  ),
  ...[
    ' ',
    '\n',
    '\ud800',
    '{"name": "f", "arguments": {"a": "]}"}}',
    '{"arguments": {}, "name": "g"}',
  ],
  ...['{"name": "f"', ', "arguments": ', '{"a": 1}', '"name"', ':'],
]

/** What an answer says that comes in these pieces. */
function readAnswer(form, pieces) {
  const parser = parserOf(form)
  const calls = []
  let [content, reasoning] = ['', '']
  for (const piece of [...pieces.map((text) => parser.push(text)), parser.end()]) {
    content += piece.content
    reasoning += piece.reasoning ?? ''
    for (const { index, name, arguments: given } of piece.calls) {
      if (name !== undefined) calls.push({ name, arguments: '' })
      assert(index === calls.length - 1, 'calls in order')
      calls[index].arguments += given
    }
  }
  return { content, reasoning, calls }
}

/** However an answer is cut, it says the same. */
export function answer(random) {
  const form = random.of(forms)
  const parts = Array.from({ length: random.below(14) }, () => random.of(fragments))
  const text = parts.join('')
  const cuts = Array.from({ length: random.below(6) }, () => random.below(text.length + 1))
  const run = () => {
    const places = [0, ...cuts.sort((a, b) => a - b)]
    const pieces = places.map((at, i) => text.slice(at, places[i + 1]))
    const whole = readAnswer(form, [text])
    assert.deepEqual(readAnswer(form, pieces), whole, JSON.stringify({ form: form.name, pieces }))
    assert.deepEqual(readAnswer(form, [...text]), whole, JSON.stringify({ form: form.name, text }))
  }
  return { bytes: Buffer.from(text), run }
}

const schemas = [
  {
    type: 'object',
    properties: {
      name: { type: 'string', minLength: 1, maxLength: 9 },
      age: { type: 'integer', minimum: -3, exclusiveMaximum: 150 },
      tags: { type: 'array', items: { enum: ['a', 'b', null, 1.5] }, minItems: 1, maxItems: 3 },
      at: { type: 'string', format: 'date-time' },
      next: { anyOf: [{ $ref: '#' }, { type: 'null' }] },
    },
    required: ['name', 'next'],
    additionalProperties: false,
  },
  {
    $defs: { a: { type: 'string', pattern: '^[a-z\\d]{2,4}(x|\\.)?$' }, b: { $ref: '#/$defs/a' } },
    oneOf: [{ $ref: '#/$defs/b' }, { type: 'array', prefixItems: [{ const: {} }], items: false }],
  },
]
const schemaWords =
  `$ref #/$defs/a # const enum anyOf oneOf allOf type object array string number integer boolean null
  properties required additionalProperties items prefixItems minItems maxItems minLength maxLength pattern format
  date uuid email minimum exclusiveMinimum $defs title ^a+$ [^\\W]{1,1024} (a|b)* \\u{1f600} . (((a?)?)?)? __proto__`.split(
    /\s+/,
  )
const expressions = [
  '^(?:a|b)+[c-z\\d]{2,5}$',
  '\\w+@\\w+\\.[a-z]{2,}',
  '([^"\\\\]|\\\\.)*',
  'a{1000}',
]

/** JSON schemas and expressions: a grammar, or a refusal. */
export function schema(random) {
  const isSchema = !random.rarely(3)
  const value = isSchema
    ? mutateJson(random, random.of(schemas), schemaWords)
    : mutateBytes(
        random,
        Buffer.from(random.of(expressions)),
        expressions.map(Buffer.from),
      ).toString()
  const bytes = Buffer.from(JSON.stringify(value) ?? 'null')
  const run = () => {
    const text = constraintGrammar('generate', { [isSchema ? 'json' : 'regex']: JSON.parse(bytes) })
    assert(text.startsWith('root ::= '), 'a grammar')
  }
  return { bytes, run }
}

const call = { id: 'c1', type: 'function', function: { name: 'add', arguments: '{"a": 1}' } }
const requests = [
  { prompt: 'Hello', max_tokens: 4, temperature: 0, stop: ['x'], logprobs: 2, echo: false },
  {
    ...{ prompt: [[5, 6, 7], [8]], max_tokens: 2, n: 2, temperature: 1, top_p: 0.9, top_k: 5 },
    ...{ seed: 3, min_tokens: 1, stop_token_ids: [9], allowed_token_ids: [1, 2, 3, 9] },
    ...{ logit_bias: { 5: -100, 6: 2 }, repetition_penalty: 1.1, presence_penalty: 0.5 },
    ...{ prompt_logprobs: 1, return_token_ids: true, routing: true, ignore_eos: true },
  },
]
const chats = [
  { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 3, logprobs: true, top_logprobs: 2 },
  {
    messages: [
      { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
      { role: 'user', content: 'a' },
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'c1', content: '2' },
    ],
    ...{ max_completion_tokens: 2, tool_choice: 'none', parallel_tool_calls: false },
    tools: [{ type: 'function', function: { name: 'add', parameters: { type: 'object' } } }],
  },
]
const requestWords =
  `prompt messages role content user assistant tool system text image_url tools tool_choice auto
  required response_format json_object json_schema structured_outputs regex choice grammar max_tokens n best_of stream
  logprobs top_logprobs suffix echo stop seed model cache_salt priority stream_options include_usage user moepp-tiny
  chat_template_kwargs add_generation_prompt continue_final_message reasoning_effort`.split(/\s+/)
let served

/** Requests of a server, answered without a connection. Only what is no fault of the client is a finding. */
export function request(random) {
  const isChat = random.rarely(2)
  const changed = mutateJson(random, random.of(isChat ? chats : requests), requestWords)
  const bytes = Buffer.from(JSON.stringify(changed) ?? 'null')
  const run = async () => {
    const body = JSON.parse(bytes)
    if (typeof body !== 'object' || body === null || Array.isArray(body)) return
    served ??= loadModel(`${root}/demo/moepp-tiny`, { threads: 1, maxTokens: 96 }).then((model) =>
      serving(model, 'moepp-tiny'),
    )
    const url = offlineRoutes.find((one) => one.includes('chat') === isChat)
    const signal = AbortSignal.timeout(20_000)
    const { status, body: answered } = await answerOffline(await served, url, body, signal)
    assert(status === 200 || (status >= 400 && status < 500), `status ${status}`)
    const { error } = JSON.parse(JSON.stringify(answered))
    if (status !== 200) assert(typeof error.message === 'string' && error.message !== '')
    if (status !== 200) throw new MoeError('ERR_MOE_OPTION', error.message)
  }
  return { bytes, run }
}
