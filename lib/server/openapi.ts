import { readVersion } from '../version.ts'
import type { Exchange } from './exchange.ts'

type Schema = Readonly<Record<string, unknown>>

const string: Schema = { type: 'string' }
const integer: Schema = { type: 'integer' }
const number: Schema = { type: 'number' }
const boolean: Schema = { type: 'boolean' }
const list = (items: Schema): Schema => ({ type: 'array', items })
const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  ...{ type: 'object', properties },
  ...(required.length > 0 && { required }),
})
const anything: Schema = { type: 'object' }
const between = (minimum: number, maximum: number, schema = integer): Schema => ({
  ...{ ...schema, minimum, maximum },
})

/** What both kinds of completions take. */
const sampling: Record<string, Schema> = {
  model: string,
  stream: boolean,
  stream_options: object({ include_usage: boolean }),
  max_tokens: { ...integer, minimum: 1 },
  n: between(1, 16),
  stop: { anyOf: [string, list(string)] },
  stop_token_ids: list(integer),
  ignore_eos: boolean,
  min_tokens: { ...integer, minimum: 0 },
  temperature: { ...number, minimum: 0 },
  top_k: { ...integer, minimum: -1 },
  top_p: between(0, 1, number),
  min_p: between(0, 1, number),
  repetition_penalty: number,
  presence_penalty: number,
  frequency_penalty: number,
  seed: integer,
  logit_bias: { type: 'object', additionalProperties: number },
  response_format: anything,
  structured_outputs: anything,
  priority: integer,
  cache_salt: string,
  return_token_ids: boolean,
  routing: boolean,
}
const message = object({ role: string, content: {} }, ['role'])
const template = {
  add_generation_prompt: boolean,
  continue_final_message: boolean,
}
const chatRequest = object(
  {
    messages: { ...list(message), minItems: 1 },
    ...sampling,
    max_completion_tokens: { ...integer, minimum: 1 },
    ...{ logprobs: boolean, top_logprobs: between(0, 20) },
    ...{ tools: list(anything), tool_choice: {}, parallel_tool_calls: boolean },
    ...{ continue_final_message: boolean, chat_template_kwargs: anything },
  },
  ['messages'],
)
const textRequest = object(
  {
    prompt: { anyOf: [string, list(string), list(integer), list(list(integer))] },
    ...sampling,
    max_tokens: { ...integer, minimum: 0 },
    ...{ logprobs: between(0, 20), echo: boolean, prompt_logprobs: between(0, 20) },
  },
  ['prompt'],
)
const error = object({
  error: object({
    ...{ message: string, type: string },
    ...{ param: { type: ['string', 'null'] }, code: { type: ['string', 'null'] } },
  }),
})

const json = (schema: Schema) => ({ 'application/json': { schema } })
const failures = Object.fromEntries(
  Object.entries({
    400: 'The request is wrong, does not fit the context, or asks for what is not done.',
    401: 'The API key is missing or wrong.',
    403: 'The Host header names another machine.',
    413: 'The body is too large.',
    415: 'The body is not application/json.',
    429: 'Too many requests wait; Retry-After says when to come again.',
    503: 'The server is shutting down; Retry-After says when to come again.',
  }).map(([status, description]) => [status, { description, content: json(error) }]),
)

const post = (summary: string, schema: Schema) => ({
  post: {
    summary,
    requestBody: { required: true, content: json(schema) },
    responses: { 200: { description: 'OK' }, ...failures },
  },
})
const get = (summary: string, open = false) => ({
  get: { summary, responses: { 200: { description: 'OK' } }, ...(open && { security: [] }) },
})

const document = {
  openapi: '3.1.0',
  info: { title: 'moe-native', version: readVersion(), license: { name: 'Apache-2.0' } },
  security: [{ key: [] }],
  components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
  paths: {
    '/': get('A page that shows where each token goes', true),
    '/health': get('Whether the engine moves', true),
    '/ready': get('Whether new requests are welcome', true),
    '/metrics': get("Counts in Prometheus' format"),
    '/version': get('The version of the package'),
    '/openapi.json': get('This document'),
    '/v1/models': get('The model'),
    '/v1/models/{id}': {
      parameters: [{ name: 'id', in: 'path', required: true, schema: string }],
      ...get('One model by its name'),
    },
    '/v1/stats': get('What the model does, and how often each expert was chosen'),
    '/v1/chat/completions': post('Answers a conversation', chatRequest),
    '/v1/completions': post('Continues texts', textRequest),
    '/tokenize': post(
      'Ids of a text or a conversation',
      object({ prompt: string, messages: list(message), add_special_tokens: boolean }),
    ),
    '/detokenize': post('The text of ids', object({ tokens: list(integer) }, ['tokens'])),
    '/apply-template': post(
      'What a conversation is to the model',
      object({ messages: list(message), ...template }, ['messages']),
    ),
  },
}

/** GET /openapi.json */
export function openapi(exchange: Exchange): void {
  exchange.send(200, document)
}
