import type { Json } from '../weights/json.ts'
import { chatCompletions } from './chat_completions.ts'
import { completions } from './completions.ts'
import { Exchange, type Served } from './exchange.ts'
import { Failure, failureOf } from './failure.ts'
import { Fields } from './fields.ts'

const routes = { '/v1/chat/completions': chatCompletions, '/v1/completions': completions } as const

export const offlineRoutes: readonly string[] = Object.keys(routes)

export interface OfflineAnswer {
  status: number
  body: object
}

/** A request that came by no connection. */
class OfflineExchange extends Exchange {
  readonly #body: Json
  answer: OfflineAnswer | undefined

  constructor(body: Json, signal: AbortSignal) {
    super(undefined as never, undefined as never, signal, 0)
    this.#body = body
  }

  override async json(): Promise<Json> {
    if (new Fields(this.#body).flag('stream'))
      throw new Failure(400, 'stream must be false in a batch', { param: 'stream' })
    this.names = Object.keys(this.#body)
    return this.#body
  }

  override send(status: number, body: object): void {
    this.answer = { status, body }
  }
}

/**
 * Answers one request as the server does.
 *
 * @throws what the signal says when it aborts
 */
export async function answerOffline(
  served: Served,
  url: string,
  body: Json,
  signal: AbortSignal,
): Promise<OfflineAnswer> {
  const exchange = new OfflineExchange(body, signal)
  try {
    await routes[url as keyof typeof routes](exchange, served)
    return exchange.answer!
  } catch (error) {
    signal.throwIfAborted()
    const failure = failureOf(error, exchange.names)
    return { status: failure.status, body: failure.body }
  }
}
