import { randomUUID } from 'node:crypto'
import type { AnswerParser, ParsedPiece } from '../chat/answer_parser.ts'
import { type CallForm, markersOf } from '../chat/call_forms.ts'
import { parserOf } from '../chat/tool_calls.ts'
import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import type { Choice, Form } from './answer.ts'
import type { Asked } from './asked.ts'
import type { Served } from './exchange.ts'
import { chatLogprob } from './logprobs.ts'
import { Routed } from './routed_experts.ts'

/** What a chat's answer is written as. */
export interface ChatFormOptions {
  logprobs: boolean
  /** How calls are told apart; undefined: all is text. */
  form: CallForm | undefined
  /** More than one call. */
  parallel: boolean
}

const callId = (): string => `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`

/** One choice's answer as it comes. */
class Reading {
  readonly #parser: AnswerParser | undefined
  readonly #special: ReadonlyMap<number, string>
  readonly #parallel: boolean
  calls = 0

  constructor({ form, parallel }: ChatFormOptions, special: ReadonlyMap<number, string>) {
    this.#parser = form && parserOf(form)
    this.#special = special
    this.#parallel = parallel
  }

  /** Markers may be special tokens, which a text does not show. */
  push({ id, text }: GenerateChunk): ParsedPiece {
    if (!this.#parser) return { content: text, calls: [] }
    return this.#count(this.#parser.push(text + (this.#special.get(id) ?? '')))
  }

  end(): ParsedPiece {
    return this.#parser ? this.#count(this.#parser.end()) : { content: '', calls: [] }
  }

  #count(piece: ParsedPiece): ParsedPiece {
    const calls = piece.calls.filter(({ index }) => this.#parallel || index === 0)
    for (const { index } of calls) this.calls = Math.max(this.calls, index + 1)
    return { ...piece, calls }
  }
}

export class ChatForm implements Form {
  readonly #id = `chatcmpl-${randomUUID()}`
  readonly #created = Math.floor(Date.now() / 1000)
  readonly #served: Served
  readonly #asked: Asked
  readonly #routed: Routed
  readonly #options: ChatFormOptions
  readonly #special: ReadonlyMap<number, string>
  readonly #readings: Reading[] = []

  constructor(served: Served, asked: Asked, options: ChatFormOptions) {
    this.#served = served
    this.#asked = asked
    this.#routed = new Routed(asked.routing)
    this.#options = options
    const { specialIds } = served.model.tokenizer ?? {}
    const markers = options.form ? markersOf(options.form) : []
    const found = markers.map((marker) => [specialIds?.get(marker), marker] as const)
    this.#special = new Map(found.flatMap(([id, text]) => (id === undefined ? [] : [[id, text]])))
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
    const delta = deltaOf(this.#reading(index).push(chunk))
    const { logprobs } = this.#options
    const { returnTokenIds, routing } = this.#asked
    if (!delta && !logprobs && !returnTokenIds && !routing) return undefined
    return {
      index,
      delta: delta ?? {},
      logprobs: logprobs ? { content: [this.#logprob(chunk, previousId)] } : null,
      finish_reason: null,
      ...(returnTokenIds && { token_ids: [chunk.id] }),
      ...this.#routed.piece(index, chunk),
    }
  }

  closing({ index }: Choice, result: GenerateResult): object {
    const delta = deltaOf(this.#reading(index).end()) ?? {}
    const finish_reason = this.#reason(index, result.finishReason)
    return { index, delta, logprobs: null, finish_reason, ...this.#routed.rest(index, result) }
  }

  whole({ index, promptIds }: Choice, result: GenerateResult, chunks: GenerateChunk[]): object {
    const { logprobs, form } = this.#options
    const reading = this.#reading(index)
    const pieces = form ? [...chunks.map((chunk) => reading.push(chunk)), reading.end()] : []
    const content = chunks.map((chunk, i) =>
      this.#logprob(chunk, chunks[i - 1]?.id ?? promptIds.at(-1)),
    )
    return {
      index,
      message: form ? messageOf(pieces) : textMessage(result.text),
      logprobs: logprobs ? { content, refusal: null } : null,
      finish_reason: this.#reason(index, result.finishReason),
      ...(this.#asked.returnTokenIds && { token_ids: result.ids }),
      ...this.#routed.whole(result, chunks),
    }
  }

  #reading(index: number): Reading {
    this.#readings[index] ??= new Reading(this.#options, this.#special)
    return this.#readings[index]
  }

  #reason(index: number, finishReason: string): string {
    return finishReason === 'stop' && this.#reading(index).calls > 0 ? 'tool_calls' : finishReason
  }

  #logprob(chunk: GenerateChunk, previousId: number | undefined): object | undefined {
    if (!this.#options.logprobs) return undefined
    return chatLogprob(this.#served.texts!, chunk, previousId)
  }
}

const textMessage = (content: string) => ({ role: 'assistant', content, refusal: null })

/** What a piece adds to a streamed message; undefined: nothing. */
function deltaOf({ content, reasoning = '', calls }: ParsedPiece): object | undefined {
  if (content === '' && reasoning === '' && calls.length === 0) return undefined
  const made = calls.map(({ index, name, arguments: given }) =>
    name === undefined
      ? { index, function: { arguments: given } }
      : { index, id: callId(), type: 'function', function: { name, arguments: given } },
  )
  return {
    ...(content !== '' && { content }),
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(made.length > 0 && { tool_calls: made }),
  }
}

function messageOf(pieces: readonly ParsedPiece[]): object {
  const calls: { name: string; arguments: string }[] = []
  for (const { index, name = '', arguments: given } of pieces.flatMap((piece) => piece.calls)) {
    calls[index] ??= { name: '', arguments: '' }
    calls[index].name += name
    calls[index].arguments += given
  }
  const content = pieces.map((piece) => piece.content).join('')
  const reasoning = pieces.map((piece) => piece.reasoning ?? '').join('')
  return {
    ...textMessage(content),
    ...(calls.length > 0 && content.trim() === '' && { content: null }),
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(calls.length > 0 && {
      tool_calls: calls.map((call) => ({ id: callId(), type: 'function', function: call })),
    }),
  }
}
