import { randomUUID } from 'node:crypto'
import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import { readIds } from '../options.ts'
import { answerStream, answerWhole, type Choice, type Form } from './answer.ts'
import { type Asked, readAsked, readMaxTokens, seedOf, servedAs } from './asked.ts'
import type { Exchange, Served } from './exchange.ts'
import { badParam, unsupported } from './failure.ts'
import { Fields } from './fields.ts'
import { promptLogprobs, promptTokens, type TextToken, textLogprobs } from './logprobs.ts'
import { Routed } from './routed_experts.ts'

/** OpenAI's default, where the checkpoint says nothing. */
const defaultMaxTokens = 16
/** Prompts of one request. */
const maxPrompts = 64

/** What is asked of texts beside what all completions are. */
interface TextAsked {
  /** Best tokens beside each one; undefined: no logprobs. */
  logprobs: number | undefined
  /** The same for the prompt's tokens, in vLLM's form. */
  promptLogprobs: number | undefined
  /** What goes before each choice's text. */
  echo: readonly string[]
}

class TextForm implements Form {
  readonly #id = `cmpl-${randomUUID()}`
  readonly #created = Math.floor(Date.now() / 1000)
  readonly #served: Served
  readonly #asked: Asked
  readonly #routed: Routed
  readonly #text: TextAsked
  /** Length of each choice's text so far. */
  readonly #offsets: number[] = []

  constructor(served: Served, asked: Asked, text: TextAsked) {
    this.#served = served
    this.#asked = asked
    this.#routed = new Routed(asked.routing)
    this.#text = text
  }

  /** Length of what goes before a choice's text. */
  #before(index: number): number {
    return this.#text.echo[index]?.length ?? 0
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
    const text = this.#text.echo[index] ?? ''
    return text === '' ? undefined : { index, text, logprobs: null, finish_reason: null }
  }

  piece(
    { index }: Choice,
    chunk: GenerateChunk,
    previousId: number | undefined,
  ): object | undefined {
    const { returnTokenIds, routing } = this.#asked
    const silent = this.#text.logprobs === undefined && !returnTokenIds && !routing
    if (chunk.text === '' && silent) return undefined
    const offset = this.#offsets[index] ?? this.#before(index)
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

  whole({ index, promptIds }: Choice, result: GenerateResult, chunks: GenerateChunk[]): object {
    const { echo, promptLogprobs: best } = this.#text
    return {
      index,
      text: (echo[index] ?? '') + result.text,
      logprobs: this.#wholeLogprobs(index, promptIds, result, chunks),
      finish_reason: result.finishReason,
      ...(best !== undefined && {
        prompt_logprobs: promptLogprobs(
          this.#served.texts!,
          promptIds,
          result.promptLogprobs!,
          best,
        ),
      }),
      ...(this.#asked.returnTokenIds && { token_ids: result.ids }),
      ...this.#routed.whole(result, chunks),
    }
  }

  /** With the prompt's, where that is echoed. */
  #wholeLogprobs(
    index: number,
    ids: readonly number[],
    { promptLogprobs: scores }: GenerateResult,
    chunks: readonly GenerateChunk[],
  ) {
    const { echo, logprobs: top } = this.#text
    if (echo.length === 0 || top === undefined)
      return this.#logprobsOf(chunks, ids.at(-1), this.#before(index))
    const prompt = promptTokens(this.#served.texts!, ids, scores!, top)
    return this.#logprobsOf([...prompt, ...chunks], undefined, 0)
  }

  #logprobsOf(tokens: readonly TextToken[], previousId: number | undefined, offset: number) {
    if (this.#text.logprobs === undefined) return null
    return textLogprobs(this.#served.texts!, tokens, previousId, offset)
  }
}

/** A text, ids, or a list of either. */
async function readPrompts(
  fields: Fields,
  { model }: Served,
  signal: AbortSignal,
): Promise<(string | number[])[]> {
  const prompt = fields.value('prompt')
  const addSpecialTokens = fields.flag('add_special_tokens') ?? true
  const bad = () => badParam('prompt', 'a text, token ids, or a list of either', prompt)
  const readOne = async (one: unknown, name: string): Promise<string | number[]> => {
    if (typeof one !== 'string')
      return readIds('request', Array.isArray(one) ? one : bad(), model.config.vocabSize, name)
    if (addSpecialTokens || !model.tokenizer) return one
    return model.tokenizer.encodeAsync(one, { addSpecialTokens, signal })
  }
  if (typeof prompt === 'string') return [await readOne(prompt, 'prompt')]
  if (!Array.isArray(prompt) || prompt.length === 0) return bad()
  if (typeof prompt[0] === 'number') return [await readOne(prompt, 'prompt')]
  if (prompt.length > maxPrompts) badParam('prompt', `at most ${maxPrompts} prompts`, prompt.length)
  return Promise.all(prompt.map((one, i) => readOne(one, `prompt[${i}]`)))
}

/** POST /v1/completions */
export async function completions(exchange: Exchange, asking: Served): Promise<void> {
  const fields = new Fields(await exchange.json())
  const served = servedAs(fields, asking)
  const { model } = served
  const maxNewTokens =
    readMaxTokens(fields) ?? model.generationDefaults.maxNewTokens ?? defaultMaxTokens
  const asked = readAsked(fields, served, maxNewTokens, exchange.gone, 'text')
  const top = fields.within('logprobs', 0, 20)
  const echo = fields.flag('echo') ?? false
  const best = fields.within('prompt_logprobs', 0, 20)
  const all = [...(echo ? [top] : []), best].filter((one) => one !== undefined)
  const scores = all.length > 0 ? Math.max(...all) : undefined
  const spells = top !== undefined || scores !== undefined
  if (spells && !served.texts) unsupported('logprobs', 'the model has no tokenizer')
  if (scores !== undefined && asked.stream)
    unsupported('stream', 'logprobs of a prompt come with whole answers')
  const prompts = await readPrompts(fields, served, exchange.gone)
  const texts = prompts.flatMap((prompt) => Array<string | number[]>(asked.n).fill(prompt))
  const { seed } = asked.options
  const choices = await Promise.all(
    texts.map(async (prompt, index): Promise<Choice> => {
      const own = {
        ...asked.options,
        seed: seedOf(seed, index % asked.n),
      }
      const logprobs = { logprobs: top, promptLogprobs: scores }
      const generation = model.generate(prompt, { ...own, ...logprobs })
      if (!spells) return { index, generation, promptIds: [] }
      const ids = typeof prompt === 'string' ? await model.tokenizer!.encodeAsync(prompt) : prompt
      return { index, generation, promptIds: ids }
    }),
  )
  // A list that is too long for a prompt is refused by its own generation.
  const spelled = (prompt: string | number[]) =>
    typeof prompt === 'string' || prompt.length > model.maxTokens
      ? String(prompt)
      : (model.tokenizer?.decode(prompt) ?? '')
  const form = new TextForm(served, asked, {
    ...{ logprobs: top, promptLogprobs: best },
    echo: echo ? texts.map(spelled) : [],
  })
  const answer = asked.stream ? answerStream : answerWhole
  await answer(exchange, form, choices, prompts.length, asked, served.metrics)
}
