import type { ChatMessage } from '../chat/messages.ts'
import type { Json } from '../weights/json.ts'
import { answerStream, answerWhole, type Choice } from './answer.ts'
import { readAsked, readMaxTokens, servedAs } from './asked.ts'
import { ChatForm } from './chat_form.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'
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
  const json = await exchange.json()
  const fields = new Fields(json)
  const served = servedAs(fields, asking)
  const { model } = served
  const most = fields.number('max_completion_tokens', true) ?? readMaxTokens(fields)
  const maxNewTokens = most ?? model.generationDefaults.maxNewTokens ?? model.maxTokens
  const asked = readAsked(fields, served, maxNewTokens, exchange.gone)
  const top = readLogprobs(fields)
  const { tools, form: callForm, constraint, parallel } = await readTools(fields, served)
  if (tools && asked.options.constraint)
    unsupported('tools', 'an answer that is held to a constraint calls none')
  const messages = fields.list('messages') as ChatMessage[] | undefined
  if (!messages || messages.length === 0)
    badParam('messages', 'a list of at least one message', messages ?? 'nothing')
  const template = {
    ...(tools && { tools }),
    continueFinalMessage: fields.flag('continue_final_message'),
    templateVariables: fields.object('chat_template_kwargs') && (json.chat_template_kwargs as Json),
  } as const
  if (fields.has('chat_template')) unsupported('chat_template', 'a template is a program')
  if (fields.has('prompt_logprobs'))
    unsupported('prompt_logprobs', '/v1/completions has them, of a text or of ids')

  const promptIds =
    top === undefined ? [] : (await model.applyChatTemplate(messages!, template)).ids
  const { seed } = asked.options
  const choices = Array.from({ length: asked.n }, (_, index): Choice => {
    const own = {
      ...asked.options,
      ...(constraint && { constraint }),
      seed: seed === undefined ? undefined : seed + index,
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
