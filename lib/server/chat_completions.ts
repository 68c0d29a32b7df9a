import type { ChatMessage } from '../chat/messages.ts'
import { answerStream, answerWhole, type Choice } from './answer.ts'
import { readAsked, readMaxTokens, seedOf, servedAs } from './asked.ts'
import { ChatForm } from './chat_form.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'
import { readTemplate } from './tokens.ts'
import { readTools } from './tools.ts'

/** How many best tokens to report; undefined: no logprobs at all. */
function readLogprobs(fields: Fields): number | undefined {
  const top = fields.within('top_logprobs', 0, 20)
  if (fields.flag('logprobs')) return top ?? 0
  if (top !== undefined && top > 0) badParam('top_logprobs', '0 without logprobs', top)
  return undefined
}

/** POST /v1/chat/completions */
export async function chatCompletions(exchange: Exchange, asking: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  const served = servedAs(fields, asking)
  const { model } = served
  const most = fields.number('max_completion_tokens', true) ?? readMaxTokens(fields)
  const maxNewTokens = most ?? model.generationDefaults.maxNewTokens ?? model.maxTokens
  const asked = readAsked(fields, served, maxNewTokens, exchange.gone, 'chat')
  const top = readLogprobs(fields)
  const { tools, form: callForm, constraint, parallel } = await readTools(fields, served)
  if (tools && asked.options.constraint)
    unsupported('tools', 'an answer that is held to a constraint calls none')
  const messages = fields.list('messages') as ChatMessage[] | undefined
  if (!messages || messages.length === 0)
    badParam('messages', 'a list of at least one message', messages)
  const { addGenerationPrompt, ...shape } = readTemplate(fields, served)
  const template = { ...shape, tools }
  if (addGenerationPrompt === false && !shape.continueFinalMessage)
    unsupported('add_generation_prompt', 'an answer stands behind it, or continues a message')
  if (fields.flag('add_special_tokens'))
    unsupported('add_special_tokens', 'the template writes special tokens')
  if (fields.has('prompt_logprobs'))
    unsupported('prompt_logprobs', '/v1/completions has them, of a text or of ids')

  const promptIds =
    top === undefined ? [] : (await model.applyChatTemplate(messages!, template)).ids
  const { seed } = asked.options
  const choices = Array.from({ length: asked.n }, (_, index): Choice => {
    const own = {
      ...asked.options,
      ...(constraint && { constraint }),
      seed: seedOf(seed, index),
    }
    const generation = model.chat(messages!, { ...own, ...template, logprobs: top })
    return { index, generation, promptIds }
  })
  const form = new ChatForm(served, asked, {
    logprobs: top !== undefined,
    ...{ form: callForm, parallel },
  })
  const answer = asked.stream ? answerStream : answerWhole
  await answer(exchange, form, choices, 1, asked, served.metrics)
}
