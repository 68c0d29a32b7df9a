import type { ChatMessage } from '../chat/messages.ts'
import type { Tokenizer } from '../tokenizer/index.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'

const tokenizerOf = ({ model }: Served): Tokenizer =>
  model.tokenizer ?? unsupported('prompt', 'the model has no tokenizer')

/** POST /tokenize: a text, as `prompt` or `content`, or `messages`. */
export async function tokenize(exchange: Exchange, served: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  const messages = fields.list('messages')
  const text = fields.text('prompt') ?? fields.text('content')
  let tokens: number[]
  if (messages) tokens = (await served.model.applyChatTemplate(messages as ChatMessage[])).ids
  else if (text === undefined) return badParam('prompt', 'a string', 'nothing')
  else {
    const addSpecialTokens = fields.flag('add_special_tokens') ?? true
    const { gone: signal } = exchange
    tokens = await tokenizerOf(served).encodeAsync(text, { addSpecialTokens, signal })
  }
  exchange.send(200, { count: tokens.length, max_model_len: served.model.maxTokens, tokens })
}

/** POST /detokenize */
export async function detokenize(exchange: Exchange, served: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  const tokens = fields.list('tokens') ?? badParam('tokens', 'a list of token ids', 'nothing')
  const prompt = tokenizerOf(served).decode(tokens as number[], { special: true })
  exchange.send(200, { prompt, content: prompt })
}

/** POST /apply-template: what a conversation is to the model. */
export async function applyTemplate(exchange: Exchange, served: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  const messages = fields.list('messages') ?? badParam('messages', 'a list', 'nothing')
  const { text } = await served.model.applyChatTemplate(messages as ChatMessage[], {
    addGenerationPrompt: fields.flag('add_generation_prompt'),
    continueFinalMessage: fields.flag('continue_final_message'),
  })
  exchange.send(200, { prompt: text })
}
