import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import type { Generation } from '../engine/generation.ts'
import { MoeError } from '../errors.ts'
import type { Asked } from './asked.ts'
import type { Exchange } from './exchange.ts'
import { failureOf } from './failure.ts'
import type { Metrics } from './metrics.ts'

/** One choice of an answer: its text as it comes. */
export interface Choice {
  index: number
  generation: Generation
  /** The prompt's tokens, where logprobs are asked for: a token's text depends on the one before it. */
  promptIds: readonly number[]
}

/** How a kind of completion writes its objects. */
export interface Form {
  /** The fields that every object of this answer has. */
  head(streamed: boolean): object
  /** What the first event of a choice has; undefined: nothing of its own. */
  opening(choice: Choice): object | undefined
  piece(choice: Choice, chunk: GenerateChunk, previousId: number | undefined): object | undefined
  closing(choice: Choice, result: GenerateResult): object
  whole(choice: Choice, result: GenerateResult, chunks: GenerateChunk[]): object
}

export function usageOf(results: readonly GenerateResult[], prompts: number): object {
  const sum = (name: 'promptTokens' | 'completionTokens' | 'cachedTokens', of = results) =>
    of.reduce((n, { usage }) => n + usage[name], 0)
  // Choices of one prompt read it together.
  const first = results.filter((_, i) => i % (results.length / prompts) === 0)
  const [prompt, completion] = [sum('promptTokens', first), sum('completionTokens')]
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum('cachedTokens', first) },
  }
}

/** Gives a text's tokens to `each` and counts how long they take. */
async function timed(
  { generation }: Choice,
  metrics: Metrics,
  each: (chunk: GenerateChunk) => Promise<void> | void,
): Promise<GenerateResult> {
  const token = metrics.text()
  try {
    for await (const chunk of generation) {
      token()
      await each(chunk)
    }
    const result = await generation
    metrics.ended(result)
    return result
  } catch (error) {
    metrics.failed(error instanceof MoeError ? 'error' : 'abort')
    throw error
  }
}

/** Answers with all choices at once. */
export async function answerWhole(
  exchange: Exchange,
  form: Form,
  choices: Choice[],
  prompts: number,
  _asked: Asked,
  metrics: Metrics,
): Promise<GenerateResult[]> {
  const all = await Promise.all(
    choices.map(async (choice) => {
      const chunks: GenerateChunk[] = []
      const result = await timed(choice, metrics, (chunk) => void chunks.push(chunk))
      return { result, whole: form.whole(choice, result, chunks) }
    }),
  )
  const results = all.map(({ result }) => result)
  exchange.send(200, {
    ...form.head(false),
    choices: all.map(({ whole }) => whole),
    usage: usageOf(results, prompts),
  })
  return results
}

/**
 * Answers with events. What goes wrong before the first one is an error as ever; afterwards it is an event, and there
 * is no `[DONE]`.
 */
export async function answerStream(
  exchange: Exchange,
  form: Form,
  choices: Choice[],
  prompts: number,
  { includeUsage }: Asked,
  metrics: Metrics,
): Promise<GenerateResult[]> {
  const head = { ...form.head(true), ...(includeUsage && { usage: null }) }
  const write = (choice: object | undefined) =>
    choice && exchange.event({ ...head, choices: [choice] })
  try {
    const results = await Promise.all(
      choices.map(async (choice) => {
        let previousId = choice.promptIds.at(-1)
        let opened = false
        const open = async () => {
          if (!opened) await write(form.opening(choice))
          opened = true
        }
        const result = await timed(choice, metrics, async (chunk) => {
          await open()
          await write(form.piece(choice, chunk, previousId))
          previousId = chunk.id
        })
        await open()
        await write(form.closing(choice, result))
        return result
      }),
    )
    if (includeUsage)
      await exchange.event({ ...head, choices: [], usage: usageOf(results, prompts) })
    await exchange.lastEvent('[DONE]')
    return results
  } catch (error) {
    if (exchange.response.headersSent && !exchange.gone.aborted)
      await exchange.lastEvent(failureOf(error, exchange.names).body)
    throw error
  }
}
