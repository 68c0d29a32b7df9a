import { randomUUID } from 'node:crypto'
import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import { answerStream, answerWhole, type Choice, type Form } from './answer.ts'
import { type Asked, readAsked, servedAs } from './asked.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'
import { textLogprobs } from './logprobs.ts'
import { Routed } from './routed_experts.ts'

/** OpenAI's default, where the checkpoint says nothing. */
const defaultMaxTokens = 16
/** Prompts of one request. */
const maxPrompts = 64

class TextForm implements Form {
  readonly #id = `cmpl-${randomUUID()}`
  readonly #created = Math.floor(Date.now() / 1000)
  readonly #served: Served
  readonly #asked: Asked
  readonly #routed: Routed
  readonly #logprobs: boolean
  /** What goes before each choice's text. */
  readonly #echo: readonly string[]
  /** Length of each choice's text so far. */
  readonly #offsets: number[] = []

  constructor(served: Served, asked: Asked, logprobs: boolean, echo: readonly string[]) {
    this.#served = served
    this.#asked = asked
    this.#routed = new Routed(asked.routing)
    this.#logprobs = logprobs
    this.#echo = echo
  }

  head(): object {
    return {
      id: this.#id,
      object: 'text_completion',
      created: this.#created,
      model: this.#served.name,
    }
  }

  opening({ index }: Choice): object | undefined {
    const text = this.#echo[index] ?? ''
    return text === '' ? undefined : { index, text, logprobs: null, finish_reason: null }
  }

  piece(
    { index }: Choice,
    chunk: GenerateChunk,
    previousId: number | undefined,
  ): object | undefined {
    const { returnTokenIds, routing } = this.#asked
    if (chunk.text === '' && !this.#logprobs && !returnTokenIds && !routing) return undefined
    const offset = this.#offsets[index] ?? this.#echo[index]?.length ?? 0
    this.#offsets[index] = offset + chunk.text.length
    return {
      index,
      text: chunk.text,
      logprobs: this.#logprobsOf([chunk], previousId, offset),
      finish_reason: null,
      ...(this.#asked.returnTokenIds && { token_ids: [chunk.id] }),
      ...this.#routed.piece(index, chunk),
    }
  }

  closing({ index }: Choice, result: GenerateResult): object {
    const ended = { index, text: '', logprobs: null, finish_reason: result.finishReason }
    return { ...ended, ...this.#routed.rest(index, result) }
  }

  whole({ index, lastPromptId }: Choice, result: GenerateResult, chunks: GenerateChunk[]): object {
    const echo = this.#echo[index] ?? ''
    return {
      index,
      text: echo + result.text,
      logprobs: this.#logprobsOf(chunks, lastPromptId, echo.length),
      finish_reason: result.finishReason,
      ...(this.#asked.returnTokenIds && { token_ids: result.ids }),
      ...this.#routed.whole(result, chunks),
    }
  }

  #logprobsOf(chunks: GenerateChunk[], previousId: number | undefined, offset: number) {
    if (!this.#logprobs) return null
    return textLogprobs(this.#served.texts!, chunks, previousId, offset)
  }
}

/** A text, ids, or a list of either. */
function readPrompts(fields: Fields): (string | number[])[] {
  const prompt = fields.value('prompt')
  const bad = () =>
    badParam('prompt', 'a text, token ids, or a list of either', prompt ?? 'nothing')
  if (typeof prompt === 'string') return [prompt]
  if (!Array.isArray(prompt) || prompt.length === 0) return bad()
  if (typeof prompt[0] === 'number') return [prompt]
  if (prompt.length > maxPrompts) badParam('prompt', `at most ${maxPrompts} prompts`, prompt.length)
  for (const one of prompt) if (typeof one !== 'string' && !Array.isArray(one)) bad()
  return prompt
}

/** POST /v1/completions */
export async function completions(exchange: Exchange, all: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  const served = servedAs(fields, all)
  const { model } = served
  const maxNewTokens =
    fields.number('max_tokens', true) ?? model.generationDefaults.maxNewTokens ?? defaultMaxTokens
  const asked = readAsked(fields, served, maxNewTokens, exchange.gone)
  const top = fields.within('logprobs', 0, 20)
  const echo = fields.flag('echo') ?? false
  if (echo && top !== undefined) unsupported('logprobs', 'prompts that are echoed have none')
  if (top !== undefined && !served.texts) unsupported('logprobs', 'the model has no tokenizer')
  const prompts = readPrompts(fields)
  const texts = prompts.flatMap((prompt) => Array<string | number[]>(asked.n).fill(prompt))
  const { seed } = asked.options
  const choices = await Promise.all(
    texts.map(async (prompt, index): Promise<Choice> => {
      const own = {
        ...asked.options,
        seed: seed === undefined ? undefined : seed + (index % asked.n),
      }
      const generation = model.generate(prompt, { ...own, logprobs: top })
      const ids =
        typeof prompt !== 'string' || top === undefined
          ? prompt
          : await model.tokenizer!.encodeAsync(prompt)
      return { index, generation, lastPromptId: typeof ids === 'string' ? undefined : ids.at(-1) }
    }),
  )
  const spelled = texts.map((prompt) =>
    typeof prompt === 'string' ? prompt : (model.tokenizer?.decode(prompt) ?? ''),
  )
  const form = new TextForm(served, asked, top !== undefined, echo ? spelled : [])
  const answer = asked.stream ? answerStream : answerWhole
  await answer(exchange, form, choices, prompts.length, asked, served.metrics)
}
