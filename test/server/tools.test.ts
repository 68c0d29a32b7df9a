import { readFileSync } from 'node:fs'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tags } from '../../lib/chat/call_forms.ts'
import { Generation } from '../../lib/engine/generation.ts'
import { type ChatOptions, loadModel, type Model } from '../../lib/index.ts'
import { type RunningServer, serve } from '../../lib/server/index.ts'
import { failure } from '../support/files.ts'
import { fixture, root } from '../support/golden.ts'

const script = 'I add.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
const tools = [
  { type: 'function' as const, function: { name: 'add', parameters: { type: 'object' } } },
]
const asked = { model: 'demo', messages: [{ role: 'user' as const, content: 'Add.' }], tools }

/** A model whose template has tools, and whose answers are written down: no small one calls any. */
function scripted(model: Model, seen: ChatOptions[]): Model {
  const chatTemplate = readFileSync(fixture('chat/turns.jinja'), 'utf8')
  const answer = async (emit: (chunk: { id: number; logprob: number; text: string }) => void) => {
    for (const [id, text] of [...script].entries()) emit({ id, logprob: 0, text })
    const usage = { promptTokens: 3, cachedTokens: 0, completionTokens: script.length }
    const timings = { promptMs: 1, generationMs: 1, promptTokensPerSecond: 1, tokensPerSecond: 1 }
    return { text: script, ids: [], finishReason: 'stop' as const, usage, timings }
  }
  return new Proxy(model, {
    get(target, name) {
      if (name === 'toolCallForm') return async () => tags
      if (name === 'chat')
        return (messages: never, options: ChatOptions) => {
          seen.push(options)
          return new Generation(async (emit) => {
            await target.applyChatTemplate(messages, { chatTemplate, tools })
            return answer(emit)
          })
        }
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** A model that writes calls in tags. */
function withTools(model: Model): Model {
  const chatTemplate = readFileSync(fixture('chat/turns.jinja'), 'utf8')
  return new Proxy(model, {
    get(target, name) {
      if (name === 'toolCallForm') return async () => tags
      if (name === 'chat')
        return (messages: never, options: ChatOptions) =>
          target.chat(messages, { ...options, chatTemplate })
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

interface ParsedFunction {
  name: string
  arguments: string
}

describe('tools', () => {
  let model: Model
  let server: RunningServer
  const seen: ChatOptions[] = []
  beforeAll(async () => {
    model = await loadModel(`${root}/demo/moepp-tiny`, { device: 'cpu', maxTokens: 512 })
    server = await serve(scripted(model, seen), { port: 0, name: 'demo' })
  })
  afterAll(async () => {
    await server.close()
    await model.dispose()
  })
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const call = { type: 'function', function: { name: 'add', arguments: '{"a": 1}' } }

  it('calls are told apart from text', async () => {
    const { choices } = await client().chat.completions.create(asked)
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: {
        content: 'I add.\n',
        tool_calls: [{ ...call, id: expect.stringMatching(/^call_/) }],
      },
    })
    expect(seen.at(-1)!.tools).toEqual(tools)
  })

  it('and in streams, by the client’s own helper', async () => {
    const runner = client().chat.completions.stream(asked)
    const { choices } = await runner.finalChatCompletion()
    expect(choices[0]).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: 'I add.\n', tool_calls: [call] },
    })
  })

  it('a conversation goes on behind a call, also one that was no JSON', async () => {
    for (const args of ['{"a":1}', 'a=1']) {
      const turn = {
        id: 'call_1',
        type: 'function' as const,
        function: { name: 'add', arguments: args },
      }
      const messages = [
        ...asked.messages,
        { role: 'assistant' as const, content: null, tool_calls: [turn] },
        { role: 'tool' as const, tool_call_id: 'call_1', content: '2' },
      ]
      const { choices } = await client().chat.completions.create({ ...asked, messages })
      expect(choices[0]!.finish_reason).toBe('tool_calls')
    }
  })

  it('without tools, or with none to be called, all is text', async () => {
    for (const some of [{ tools: undefined }, { tools: [] }, { tool_choice: 'none' as const }]) {
      const { choices } = await client().chat.completions.create({
        ...asked,
        ...some,
      } as typeof asked)
      expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: script } })
      expect(seen.at(-1)!.tools).toBeUndefined()
    }
  })

  it('arguments are streamed as they are written', async () => {
    const stream = await client().chat.completions.create({ ...asked, stream: true })
    const pieces: string[] = []
    for await (const { choices } of stream)
      pieces.push(...(choices[0]?.delta.tool_calls ?? []).map((one) => one.function!.arguments!))
    expect(pieces.length).toBeGreaterThan(5)
    expect(pieces.join('')).toBe('{"a": 1}')
  })
})

describe('calls that must be made', () => {
  let model: Model
  let server: RunningServer
  beforeAll(async () => {
    model = await loadModel(`${root}/demo/moepp-tiny`, { device: 'cpu', maxTokens: 1024 })
    server = await serve(withTools(model), { port: 0, name: 'demo' })
  })
  afterAll(async () => {
    await server.close()
    await model.dispose()
  })
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  const parameters = {
    type: 'object',
    properties: { a: { type: 'integer', minimum: 0, maximum: 99 }, b: { enum: ['x', 'y'] } },
    required: ['a', 'b'],
  }
  const two = ['add', 'sub'].map((name) => ({
    type: 'function' as const,
    function: { name, parameters },
  }))
  const base = { ...asked, tools: two, max_tokens: 100, temperature: 1 }

  it.each(['required', { type: 'function', function: { name: 'sub' } }] as const)(
    'are made: %j',
    async (tool_choice) => {
      for (const seed of [1, 2, 3]) {
        const more = { tool_choice, seed, parallel_tool_calls: false }
        const { choices } = await client().chat.completions.create({ ...base, ...more })
        const { message, finish_reason } = choices[0]!
        expect([finish_reason, message.content, message.tool_calls!.length]).toEqual([
          ...['tool_calls', null],
          1,
        ])
        const called = (message.tool_calls![0] as { function: ParsedFunction }).function
        const { a, b } = JSON.parse(called.arguments)
        expect(two.map((tool) => tool.function.name)).toContain(called.name)
        if (typeof tool_choice === 'object') expect(called.name).toBe('sub')
        expect([Number.isInteger(a), a >= 0 && a <= 99, ['x', 'y'].includes(b)]).toEqual([
          ...[true, true],
          true,
        ])
        const stream = client().chat.completions.stream({ ...base, ...more })
        const streamed = (await stream.finalChatCompletion()).choices[0]!.message
        expect(streamed.tool_calls![0]).toMatchObject({ function: called })
      }
    },
  )

  it.each<[string, object, string]>([
    ['no such tool', { tool_choice: { type: 'function', function: { name: 'x' } } }, 'tool_choice'],
    ['a choice that is none', { tool_choice: 'perhaps' }, 'tool_choice'],
    ['nothing to choose from', { tools: undefined, tool_choice: 'required' }, 'tool_choice'],
    [
      'arguments that cannot be enforced',
      {
        tool_choice: 'required',
        tools: [
          {
            type: 'function',
            function: { name: 'f', parameters: { type: 'object', minProperties: 1 } },
          },
        ],
      },
      'tools[0].function.parameters.minProperties',
    ],
    ['a format, too', { response_format: { type: 'json_object' } }, 'tools'],
  ])('or it is said why not: %s', async (_, more, param) => {
    const create = () => client().chat.completions.create({ ...base, ...more } as typeof base)
    expect(await failure(create)).toMatchObject({ status: 400, param })
  })
})
