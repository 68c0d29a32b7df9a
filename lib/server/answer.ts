import type { GenerateChunk, GenerateResult } from '../engine/completion.ts'
import type { Generation } from '../engine/generation.ts'
import type { Asked } from './asked.ts'
import type { Exchange } from './exchange.ts'
import { failureOf } from './failure.ts'

/** One choice of an answer: its text as it comes. */
export interface Choice {
  index: number
  generation: Generation
  /** The prompt's last token, for the text of the first one behind it. */
  lastPromptId: number | undefined
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

/** Answers with all choices at once. */
export async function answerWhole(
  exchange: Exchange,
  form: Form,
  choices: Choice[],
  prompts: number,
): Promise<GenerateResult[]> {
  const all = await Promise.all(
    choices.map(async (choice) => {
      const chunks: GenerateChunk[] = []
      for await (const chunk of choice.generation) chunks.push(chunk)
      const result = await choice.generation
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
): Promise<GenerateResult[]> {
  const head = { ...form.head(true), ...(includeUsage && { usage: null }) }
  const write = (choice: object | undefined) =>
    choice && exchange.event({ ...head, choices: [choice] })
  try {
    const results = await Promise.all(
      choices.map(async (choice) => {
        let previousId = choice.lastPromptId
        let opened = false
        const open = async () => {
          if (!opened) await write(form.opening(choice))
          opened = true
        }
        for await (const chunk of choice.generation) {
          await open()
          await write(form.piece(choice, chunk, previousId))
          previousId = chunk.id
        }
        const result = await choice.generation
        await open()
        await write(form.closing(choice, result))
        return result
      }),
    )
    if (includeUsage)
      await exchange.event({ ...head, choices: [], usage: usageOf(results, prompts) })
    await exchange.event('[DONE]')
    exchange.response.end()
    return results
  } catch (error) {
    if (exchange.response.headersSent && !exchange.gone.aborted) {
      await exchange.event(failureOf(error).body)
      exchange.response.end()
    }
    throw error
  }
}
