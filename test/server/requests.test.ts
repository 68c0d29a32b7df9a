import { request } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { range, root } from '../support/golden.ts'
import { post, useServer } from './support.ts'

const demo = `${root}/demo/moepp-tiny`
const chat = { messages: [{ role: 'user', content: 'Good morrow.' }], max_tokens: 8 }

describe('requests that are wrong', () => {
  const { url, model } = useServer(demo, { maxBodyBytes: 20_000 })
  const paths = [
    '/v1/chat/completions',
    '/v1/completions',
    '/tokenize',
    '/detokenize',
    '/apply-template',
  ]

  it.each<[string, object, string, string | null]>([
    ['no messages', {}, 'messages', 'invalid_value'],
    ['messages that are none', { messages: 'x' }, 'messages', 'invalid_value'],
    ['a role that is none', { messages: [{ role: 5 }] }, 'messages[0].role', 'invalid_value'],
    [
      'a picture',
      { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
      'messages[0].content[0].type',
      'invalid_value',
    ],
    ['a temperature', { ...chat, temperature: 'hot' }, 'temperature', 'invalid_value'],
    ['no tokens', { ...chat, max_tokens: 0 }, 'max_tokens', 'invalid_value'],
    ['half a token', { ...chat, max_tokens: 1.5 }, 'max_tokens', 'invalid_value'],
    ['top_p', { ...chat, top_p: 2 }, 'top_p', 'invalid_value'],
    ['n', { ...chat, n: 1000 }, 'n', 'invalid_value'],
    ['stop', { ...chat, stop: [''] }, 'stop', 'invalid_value'],
    ['stop ids', { ...chat, stop_token_ids: ['x'] }, 'stop_token_ids', 'invalid_value'],
    ['stream', { ...chat, stream: 'yes' }, 'stream', 'invalid_value'],
    ['stream_options', { ...chat, stream_options: 7 }, 'stream_options', 'invalid_value'],
    [
      'include_usage',
      { ...chat, stream_options: { include_usage: 1 } },
      'stream_options.include_usage',
      'invalid_value',
    ],
    [
      'top_logprobs',
      { ...chat, logprobs: true, top_logprobs: 21 },
      'top_logprobs',
      'invalid_value',
    ],
    ['top_logprobs alone', { ...chat, top_logprobs: 2 }, 'top_logprobs', 'invalid_value'],
    [
      'a format',
      { ...chat, response_format: { type: 'xml' } },
      'response_format.type',
      'invalid_value',
    ],
    [
      'a schema that is not enforced',
      {
        ...chat,
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'x', schema: { type: 'array', uniqueItems: true } },
        },
      },
      'response_format.json_schema.schema.uniqueItems',
      'unsupported',
    ],
    [
      'a schema that is none',
      { ...chat, structured_outputs: { json: 7 } },
      'structured_outputs.json',
      'invalid_value',
    ],
    ['an expression that is none', { ...chat, guided_regex: '(' }, 'guided_regex', 'invalid_value'],
    [
      'a grammar that is none',
      { ...chat, structured_outputs: { grammar: 'root ::= [' } },
      'structured_outputs.grammar',
      'invalid_value',
    ],
    [
      'two constraints',
      { ...chat, guided_regex: 'a', structured_outputs: { choice: ['a'] } },
      'structured_outputs',
      'unsupported',
    ],
    ['a bias', { ...chat, logit_bias: { 5: 101 } }, 'logit_bias.5', 'invalid_value'],
    ['a bias of no token', { ...chat, logit_bias: { x: 1 } }, 'logit_bias', 'invalid_value'],
    [
      'no tokens to choose from',
      { ...chat, allowed_token_ids: [] },
      'allowed_token_ids',
      'invalid_value',
    ],
    [
      'tools',
      { ...chat, tools: [{ type: 'function', function: { name: 'f' } }] },
      'tools',
      'unsupported',
    ],
    ['prompt_logprobs', { ...chat, prompt_logprobs: 1 }, 'prompt_logprobs', 'unsupported'],
    ['min_tokens', { ...chat, min_tokens: 9 }, 'min_tokens', 'invalid_value'],
    ['beams', { ...chat, use_beam_search: true }, 'use_beam_search', 'unsupported'],
    ['best_of', { ...chat, best_of: 2 }, 'best_of', 'unsupported'],
    ['bad words', { ...chat, bad_words: ['x'] }, 'bad_words', 'unsupported'],
    ['a penalty by length', { ...chat, length_penalty: 2 }, 'length_penalty', 'unsupported'],
    ['mirostat', { ...chat, mirostat: 2 }, 'mirostat', 'unsupported'],
    ['a template', { ...chat, chat_template: '{{ 1 }}' }, 'chat_template', 'unsupported'],
  ])('%s', async (_, body, param, code) => {
    const { status, json } = await post(`${url()}/v1/chat/completions`, body)
    expect(status).toBe(400)
    expect(json.error).toMatchObject({ type: 'invalid_request_error', param, code })
    expect(json.error.message).not.toMatch(/^(generate|chat):/)
  })

  it.each([
    [{ echo: true, logprobs: 1, stream: true }, 'stream'],
    [{ prompt_logprobs: 1, stream: true }, 'stream'],
    [{ prompt_logprobs: 21 }, 'prompt_logprobs'],
    [{ max_tokens: 0 }, 'max_tokens'],
  ])('of texts: %j', async (more, param) => {
    const body = { prompt: 'ROMEO:', max_tokens: 4, ...more }
    const { status, json } = await post(`${url()}/v1/completions`, body)
    expect([status, json.error.param]).toEqual([400, param])
  })

  it('what changes nothing is taken', async () => {
    const harmless = {
      ...{ logit_bias: {}, response_format: { type: 'text' }, tools: [], tool_choice: 'auto' },
      ...{ use_beam_search: false, length_penalty: 1, skip_special_tokens: true, bad_words: [] },
      ...{ user: 'me', metadata: { a: 1 }, unknown: [1], top_p: null, stop: null },
    }
    expect((await post(`${url()}/v1/chat/completions`, { ...chat, ...harmless })).status).toBe(200)
  })

  it.each([
    [{ maxTokens: 5 }, /did you mean max_tokens\?/],
    [{ temprature: 0 }, /did you mean temperature\?/],
    [{ stop_sequences: ['a'] }, /did you mean stop\?/],
    [{ ebnf: 'root ::= "a"' }, /does not do it/],
    [{ grammar: 'root ::= "a"' }, /does not do it/],
  ])('what would be read as nothing: %j', async (more, message) => {
    for (const [path, body] of [
      ['/v1/chat/completions', chat],
      ['/v1/completions', { prompt: 'a' }],
    ] as const) {
      const { status, json } = await post(url() + path, { ...body, ...more })
      expect([status, json.error.param]).toEqual([400, Object.keys(more)[0]])
      expect(json.error.message).toMatch(message)
    }
  })

  const routes = {
    ...{ chat: '/v1/chat/completions', text: '/v1/completions', tokenize: '/tokenize' },
    ...{ detokenize: '/detokenize', template: '/apply-template' },
  }
  const own = {
    ...{ chat, text: { prompt: 'a', max_tokens: 1 }, tokenize: { prompt: 'a' } },
    ...{ detokenize: { tokens: [5] }, template: { messages: chat.messages } },
  }
  it.each<[keyof typeof routes, object, string]>([
    ['chat', { response_format: {} }, 'response_format.type'],
    ['chat', { response_format: { Type: 'json_object' } }, 'response_format.type'],
    ['chat', { response_format: { type: 'json_schema' } }, 'response_format.json_schema.schema'],
    [
      'chat',
      { response_format: { type: 'json_schema', json_schema: { type: 'boolean' } } },
      'response_format.json_schema.schema',
    ],
    ['chat', { structured_outputs: {} }, 'structured_outputs'],
    ['chat', { stream_options: { includeUsage: true } }, 'stream_options.includeUsage'],
    ['chat', { max_completion_tokens: 0 }, 'max_completion_tokens'],
    ['chat', { repeat_penalty: -1 }, 'repeat_penalty'],
    ['chat', { echo: true }, 'echo'],
    ['chat', { add_generation_prompt: false }, 'add_generation_prompt'],
    ['chat', { add_special_tokens: true }, 'add_special_tokens'],
    [
      'chat',
      { chat_template_kwargs: Object.fromEntries(range(300).map((i) => [`k${i}`, 1])) },
      'chat_template_kwargs',
    ],
    ['chat', { messages: range(3000).map(() => ({})) }, 'messages'],
    ['text', { max_completion_tokens: 5 }, 'max_completion_tokens'],
    ['text', { top_logprobs: 3 }, 'top_logprobs'],
    ['text', { prompt: [[1, -1]] }, 'prompt[0][1]'],
    ['text', { prompt: [1, 'a'] }, 'prompt[1]'],
    ['tokenize', { add_special_token: false }, 'add_special_token'],
    ['tokenize', { with_pieces: true }, 'with_pieces'],
    ['tokenize', { model: 'other' }, 'model'],
    ['detokenize', { tokens: [-1] }, 'tokens[0]'],
    ['detokenize', { tokens: [99_999] }, 'tokens[0]'],
    ['template', { continue_last_message: true }, 'continue_last_message'],
  ])('what would be heeded nowhere: %s %.60j', async (route, more, param) => {
    const { json } = await post(url() + routes[route], { ...own[route], ...more })
    expect(json.error?.param).toBe(param)
  })

  it.each<[string, Buffer, object, number]>([
    ['Latin-1', Buffer.from('{"prompt":"caf\xe9"}', 'latin1'), {}, 400],
    ['UTF-16', Buffer.from('{"prompt":"a"}', 'utf16le'), {}, 400],
    ['deep', Buffer.from(`{"prompt":${'['.repeat(9000)}`), {}, 400],
    ['a byte order mark', Buffer.from('\ufeff{"prompt":"a"}'), {}, 200],
    ['another type', Buffer.from('{}'), { 'content-type': 'application/json-patch+json' }, 415],
    ['a charset', Buffer.from('{}'), { 'content-type': 'application/json; charset=utf-16' }, 415],
    ['compressed', Buffer.from('{}'), { 'content-encoding': 'gzip' }, 415],
  ])('the bytes of a body: %s', async (_, body, headers, status) => {
    const response = await fetch(`${url()}/tokenize`, {
      ...{ method: 'POST', body: new Uint8Array(body) },
      headers: { 'content-type': 'application/json', ...headers },
    })
    expect(response.status).toBe(status)
    if (status !== 200) expect(((await response.json()) as any).error.type).toBeTypeOf('string')
  })

  it('what is no request is an error like others', async () => {
    const socket = connect(Number(new URL(url()).port), '127.0.0.1')
    socket.end('nonsense\r\n\r\n')
    const said = (await socket.toArray()).join('')
    expect(said).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(JSON.parse(said.split('\r\n\r\n')[1]!).error.code).toBe('invalid_request')
  })

  it('HEAD is GET without a body, and 405 says what there is', async () => {
    const head = await fetch(`${url()}/health`, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
    const put = await fetch(`${url()}/v1/models`, { method: 'PUT' })
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  })

  it.each(['', '{', '[]', '7', '"x"', 'null', '\u0000', '{"messages":'.repeat(500)])(
    'a body that is no object: %.20j',
    async (body) => {
      for (const path of paths) {
        const { status, json } = await post(url() + path, body)
        expect([status, json.error.code]).toEqual([400, 'invalid_json'])
      }
    },
  )

  it('bodies of any shape end in an answer, and the next one is served', async () => {
    const values = [null, true, -1, 1e99, '', 'x', [], [[]], {}, { a: [{}] }, [null], '\ud800']
    const names = [
      'messages',
      'prompt',
      'tokens',
      'content',
      'model',
      'stop',
      'seed',
      'n',
      'tools',
      'priority',
      'cache_salt',
      'chat_template_kwargs',
      'response_format',
      'structured_outputs',
      'guided_json',
      'logit_bias',
      'tool_choice',
      'allowed_token_ids',
      'stop_token_ids',
      'prompt_logprobs',
      'min_tokens',
      'echo',
    ]
    for (const path of paths)
      for (const name of names)
        for (const value of values) {
          const { status, json } = await post(url() + path, {
            ...chat,
            max_tokens: 1,
            [name]: value,
          })
          expect([path, name, JSON.stringify(value), status < 500]).toEqual([
            path,
            name,
            JSON.stringify(value),
            true,
          ])
          if (status !== 200) expect(json.error.message).toEqual(expect.any(String))
        }
    expect((await post(`${url()}/v1/chat/completions`, chat)).status).toBe(200)
    expect(model().stats).toMatchObject({ running: 0, waiting: 0 })
  })

  it('too large a body, said or not', async () => {
    const large = { ...chat, user: 'x'.repeat(30_000) }
    expect(await post(`${url()}/v1/chat/completions`, large)).toMatchObject({
      status: 413,
      json: { error: { code: 'too_large' } },
    })
    const chunked = new ReadableStream({
      pull(controller) {
        controller.enqueue(new TextEncoder().encode('x'.repeat(10_000)))
      },
    })
    const response = await fetch(`${url()}/v1/chat/completions`, {
      ...{ method: 'POST', body: chunked, duplex: 'half' },
      headers: { 'content-type': 'application/json' },
    } as RequestInit).catch(() => undefined)
    if (response) expect(response.status).toBe(413)
    expect((await post(`${url()}/v1/chat/completions`, chat)).status).toBe(200)
  })

  it.each([
    ['GET', '/v1/chat/completions', 405],
    ['POST', '/v1/models', 405],
    ['OPTIONS', '/v1/chat/completions', 405],
    ['GET', '/nothing', 404],
    ['GET', '/v1/models/other', 404],
    ['GET', '/v1/models/%E0%A4%A', 404],
    ['POST', '/v1/embeddings', 404],
  ])('%s %s: %i', async (method, path, status) => {
    const response = await fetch(url() + path, { method })
    expect(response.status).toBe(status)
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
    expect(((await response.json()) as any).error.type).toBe('invalid_request_error')
  })

  it('what pages of other sites can send is refused', async () => {
    const plain = { 'content-type': 'text/plain' }
    expect((await post(`${url()}/v1/chat/completions`, chat, plain)).status).toBe(415)
    const { port } = new URL(url())
    const status = await new Promise<number | undefined>((resolve) => {
      request({ port, path: '/v1/models', headers: { host: 'evil.example' } }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).end()
    })
    expect(status).toBe(403)
  })
})
