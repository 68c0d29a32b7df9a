import { setImmediate } from 'node:timers/promises'
import type { TemplateOptions } from '../chat/chat_format.ts'
import type { ChatMessage, ChatTool } from '../chat/messages.ts'
import { readIds } from '../options.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import { servedAs } from './asked.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields, isObject } from './fields.ts'
import { checkNames } from './names.ts'

const tokenizerOf = ({ model }: Served): Tokenizer =>
  model.tokenizer ?? unsupported('prompt', 'the model has no tokenizer')

/** Variables of a template: each takes some microseconds. */
const maxVariables = 256

/** How a request's messages become a text. */
export function readTemplate(fields: Fields, { model }: Served): TemplateOptions {
  if (fields.has('chat_template')) unsupported('chat_template', 'a template is a program')
  const messages = fields.list('messages')
  if (messages && messages.length > model.maxTokens)
    badParam('messages', `at most ${model.maxTokens}, as many as tokens`, messages.length)
  const variables = fields.object('chat_template_kwargs')
  if (variables && variables.names.length > maxVariables)
    badParam('chat_template_kwargs', `at most ${maxVariables} variables`, variables.names.length)
  const given = fields.value('chat_template_kwargs')
  return {
    addGenerationPrompt: fields.flag('add_generation_prompt'),
    continueFinalMessage: fields.flag('continue_final_message'),
    ...(isObject(given) && { templateVariables: given }),
  }
}

/** The same with tools, for routes that only show what the model reads. */
const readShown = (fields: Fields, served: Served): TemplateOptions => ({
  ...readTemplate(fields, served),
  tools: fields.list('tools') as ChatTool[] | undefined,
})

/** POST /tokenize: a text, as `prompt` or `content`, or `messages`. */
export async function tokenize(exchange: Exchange, asking: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  checkNames(fields, 'tokenize')
  const served = servedAs(fields, asking)
  const messages = fields.list('messages') as ChatMessage[] | undefined
  const text = fields.text('prompt') ?? fields.text('content')
  let tokens: number[]
  if (messages)
    tokens = (await served.model.applyChatTemplate(messages, readShown(fields, served))).ids
  else if (text === undefined) return badParam('prompt', 'a string', undefined)
  else {
    // llama.cpp's name is the shorter one.
    const special = fields.flag('add_special_tokens') ?? fields.flag('add_special')
    const options = { addSpecialTokens: special ?? true, signal: exchange.gone }
    tokens = await tokenizerOf(served).encodeAsync(text, options)
  }
  exchange.send(200, { count: tokens.length, max_model_len: served.model.maxTokens, tokens })
}

/** Ids that are decoded at once: others are served in between. */
const sliceIds = 8192

/** POST /detokenize */
export async function detokenize(exchange: Exchange, asking: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  checkNames(fields, 'detokenize')
  const served = servedAs(fields, asking)
  const tokens = fields.list('tokens') ?? badParam('tokens', 'a list of token ids', undefined)
  const { vocabSize } = served.model.config
  const ids = tokens.length === 0 ? [] : readIds('request', tokens, vocabSize, 'tokens')
  const stream = tokenizerOf(served).stream(undefined, { special: true })
  let prompt = ''
  for (let at = 0; at < ids.length; at += sliceIds) {
    if (at > 0) await setImmediate(undefined, { signal: exchange.gone })
    for (const id of ids.slice(at, at + sliceIds)) prompt += stream.push(id)
  }
  prompt += stream.end()
  exchange.send(200, { prompt, content: prompt })
}

/** POST /apply-template: what a conversation is to the model. */
export async function applyTemplate(exchange: Exchange, asking: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  checkNames(fields, 'template')
  const served = servedAs(fields, asking)
  const messages = fields.list('messages') ?? badParam('messages', 'a list', undefined)
  const options = readShown(fields, served)
  const { text } = await served.model.applyChatTemplate(messages as ChatMessage[], options)
  exchange.send(200, { prompt: text })
}
