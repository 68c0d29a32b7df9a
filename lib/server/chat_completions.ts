import { randomUUID } from 'node:crypto'
import type { ChatMessage, ChatTool } from '../chat/messages.ts'
import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import type { Json } from '../weights/json.ts'
import { answerStream, answerWhole, type Choice, type Form } from './answer.ts'
import { type Asked, checkModel, readAsked } from './asked.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'
import { chatLogprob } from './logprobs.ts'

class ChatForm implements Form {
  readonly #id = `chatcmpl-${randomUUID()}`
  readonly #created = Math.floor(Date.now() / 1000)
  readonly #served: Served
  readonly #asked: Asked
  readonly #logprobs: boolean

  constructor(served: Served, asked: Asked, logprobs: boolean) {
    this.#served = served
    this.#asked = asked
    this.#logprobs = logprobs
  }

  head(streamed: boolean): object {
    return {
      id: this.#id,
      object: streamed ? 'chat.completion.chunk' : 'chat.completion',
      created: this.#created,
      model: this.#served.name,
    }
  }

  opening({ index }: Choice): object {
    const delta = { role: 'assistant', content: '' }
    return { index, delta, logprobs: null, finish_reason: null }
  }

  piece(
    { index }: Choice,
    chunk: GenerateChunk,
    previousId: number | undefined,
  ): object | undefined {
    if (chunk.text === '' && !this.#logprobs && !this.#asked.returnTokenIds) return undefined
    return {
      index,
      delta: { content: chunk.text },
      logprobs: this.#logprobs ? { content: [this.#logprob(chunk, previousId)] } : null,
      finish_reason: null,
      ...(this.#asked.returnTokenIds && { token_ids: [chunk.id] }),
    }
  }

  closing({ index }: Choice, { finishReason }: GenerateResult): object {
    return { index, delta: {}, logprobs: null, finish_reason: finishReason }
  }

  whole({ index, lastPromptId }: Choice, result: GenerateResult, chunks: GenerateChunk[]): object {
    const content = chunks.map((chunk, i) =>
      this.#logprob(chunk, chunks[i - 1]?.id ?? lastPromptId),
    )
    return {
      index,
      message: { role: 'assistant', content: result.text, refusal: null },
      logprobs: this.#logprobs ? { content, refusal: null } : null,
      finish_reason: result.finishReason,
      ...(this.#asked.returnTokenIds && { token_ids: result.ids }),
    }
  }

  #logprob(chunk: GenerateChunk, previousId: number | undefined): object | undefined {
    if (!this.#logprobs) return undefined
    return chatLogprob(this.#served.texts!, chunk, previousId)
  }
}

/** How many best tokens to report; undefined: no logprobs at all. */
function readLogprobs(fields: Fields): number | undefined {
  const top = fields.within('top_logprobs', 0, 20)
  if (fields.flag('logprobs')) return top ?? 0
  if (top !== undefined && top > 0) badParam('top_logprobs', '0 without logprobs', top)
  return undefined
}

/** POST /v1/chat/completions */
export async function chatCompletions(exchange: Exchange, served: Served): Promise<void> {
  const json = await exchange.json()
  const fields = new Fields(json)
  checkModel(fields, served.name)
  const { model } = served
  const most = fields.number('max_completion_tokens', true) ?? fields.number('max_tokens', true)
  const maxNewTokens = most ?? model.generationDefaults.maxNewTokens ?? model.maxTokens
  const asked = readAsked(fields, model, maxNewTokens, exchange.gone)
  const top = readLogprobs(fields)
  const tools = fields.list('tools')
  if (tools && tools.length > 0 && fields.value('tool_choice') !== 'none')
    unsupported('tools', 'calls of tools are not read from answers')
  const messages = fields.list('messages') as ChatMessage[] | undefined
  if (!messages || messages.length === 0)
    badParam('messages', 'a list of at least one message', messages ?? 'nothing')
  const template = {
    ...(tools && tools.length > 0 && { tools: tools as ChatTool[] }),
    continueFinalMessage: fields.flag('continue_final_message'),
    templateVariables: fields.object('chat_template_kwargs') && (json.chat_template_kwargs as Json),
  } as const
  if (fields.has('chat_template')) unsupported('chat_template', 'a template is a program')

  let lastPromptId: number | undefined
  if (top !== undefined)
    lastPromptId = (await model.applyChatTemplate(messages!, template)).ids.at(-1)
  const { seed } = asked.options
  const choices = Array.from({ length: asked.n }, (_, index): Choice => {
    const own = { ...asked.options, seed: seed === undefined ? undefined : seed + index }
    const generation = model.chat(messages!, { ...own, ...template, logprobs: top })
    return { index, generation, lastPromptId }
  })
  const form = new ChatForm(served, asked, top !== undefined)
  const answer = asked.stream ? answerStream : answerWhole
  await answer(exchange, form, choices, 1, asked)
}
