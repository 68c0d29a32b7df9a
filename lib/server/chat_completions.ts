import { randomUUID } from 'node:crypto'
import type { ChatMessage, ChatTool } from '../chat/messages.ts'
import { CallParser, type ParsedCall } from '../chat/tool_calls.ts'
import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import type { Json } from '../weights/json.ts'
import { answerStream, answerWhole, type Choice, type Form } from './answer.ts'
import { type Asked, checkModel, readAsked } from './asked.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'
import { chatLogprob } from './logprobs.ts'
import { Routed } from './routed_experts.ts'

const callObject = (call: ParsedCall): object => ({
  id: `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`,
  type: 'function',
  function: call,
})

class ChatForm implements Form {
  readonly #id = `chatcmpl-${randomUUID()}`
  readonly #created = Math.floor(Date.now() / 1000)
  readonly #served: Served
  readonly #asked: Asked
  readonly #routed: Routed
  readonly #logprobs: boolean
  readonly #calls: boolean
  readonly #parsers: CallParser[] = []
  /** Calls of each choice so far. */
  readonly #made: number[] = []

  constructor(served: Served, asked: Asked, logprobs: boolean, calls: boolean) {
    this.#served = served
    this.#asked = asked
    this.#routed = new Routed(asked.routing)
    this.#logprobs = logprobs
    this.#calls = calls
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
    const delta = this.#delta(index, chunk.text)
    if (!delta && !this.#logprobs && !this.#asked.returnTokenIds && !this.#asked.routing)
      return undefined
    return {
      index,
      delta: delta ?? {},
      logprobs: this.#logprobs ? { content: [this.#logprob(chunk, previousId)] } : null,
      finish_reason: null,
      ...(this.#asked.returnTokenIds && { token_ids: [chunk.id] }),
      ...this.#routed.piece(index, chunk),
    }
  }

  closing({ index }: Choice, result: GenerateResult): object {
    const delta = this.#delta(index) ?? {}
    const finish_reason = this.#reason(index, result.finishReason)
    return { index, delta, logprobs: null, finish_reason, ...this.#routed.rest(index, result) }
  }

  whole({ index, lastPromptId }: Choice, result: GenerateResult, chunks: GenerateChunk[]): object {
    const content = chunks.map((chunk, i) =>
      this.#logprob(chunk, chunks[i - 1]?.id ?? lastPromptId),
    )
    return {
      index,
      message: this.#message(index, result.text),
      logprobs: this.#logprobs ? { content, refusal: null } : null,
      finish_reason: this.#reason(index, result.finishReason),
      ...(this.#asked.returnTokenIds && { token_ids: result.ids }),
      ...this.#routed.whole(result, chunks),
    }
  }

  /** What a text adds; without one, what is left at the end. */
  #delta(index: number, text?: string): object | undefined {
    if (!this.#calls) return text ? { content: text } : undefined
    this.#parsers[index] ??= new CallParser()
    const parser = this.#parsers[index]
    const { content, calls } = text === undefined ? parser.end() : parser.push(text)
    const before = this.#made[index] ?? 0
    this.#made[index] = before + calls.length
    const made = calls.map((call, i) => ({ index: before + i, ...callObject(call) }))
    if (content === '' && made.length === 0) return undefined
    return { ...(content !== '' && { content }), ...(made.length > 0 && { tool_calls: made }) }
  }

  #message(index: number, text: string): object {
    const parser = new CallParser()
    const pieces = this.#calls ? [parser.push(text), parser.end()] : []
    const calls = pieces.flatMap((piece) => piece.calls)
    this.#made[index] = calls.length
    const content = this.#calls ? pieces.map((piece) => piece.content).join('') : text
    return {
      role: 'assistant',
      content: calls.length > 0 && content.trim() === '' ? null : content,
      refusal: null,
      ...(calls.length > 0 && { tool_calls: calls.map(callObject) }),
    }
  }

  #reason(index: number, finishReason: string): string {
    return finishReason === 'stop' && (this.#made[index] ?? 0) > 0 ? 'tool_calls' : finishReason
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

/** The tools that an answer may call; undefined: none. */
async function readTools(fields: Fields, { model }: Served): Promise<ChatTool[] | undefined> {
  const tools = fields.list('tools')
  const choice = fields.value('tool_choice') ?? 'auto'
  if (!tools || tools.length === 0 || choice === 'none') return undefined
  if (choice !== 'auto') unsupported('tool_choice', "it must be 'auto' or 'none'")
  if (!(await model.toolCallForm()))
    unsupported('tools', 'how this model writes calls of tools is not known')
  return tools as ChatTool[]
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
  const tools = await readTools(fields, served)
  const messages = fields.list('messages') as ChatMessage[] | undefined
  if (!messages || messages.length === 0)
    badParam('messages', 'a list of at least one message', messages ?? 'nothing')
  const template = {
    ...(tools && { tools }),
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
  const form = new ChatForm(served, asked, top !== undefined, tools !== undefined)
  const answer = asked.stream ? answerStream : answerWhole
  await answer(exchange, form, choices, 1, asked, served.metrics)
}
