import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Model } from '../model.ts'
import type { Json } from '../weights/json.ts'
import { Failure } from './failure.ts'
import { parseBody } from './fields.ts'
import type { TokenTexts } from './logprobs.ts'
import type { Metrics } from './metrics.ts'

/** What every route has at hand. */
export interface Served {
  model: Model
  /** What the API calls it. */
  name: string
  /** The adapter that a request named in its place. */
  adapter?: string
  /** Seconds since 1970. */
  created: number
  texts: TokenTexts | undefined
  metrics: Metrics
  draining: () => boolean
  /** Metrics that vLLM has are there under its names as well. */
  vllmMetrics: boolean
}

/** One request and its response. */
export class Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Aborted when the client has gone. */
  readonly gone: AbortSignal
  readonly #maxBytes: number

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    gone: AbortSignal,
    maxBytes: number,
  ) {
    this.request = request
    this.response = response
    this.gone = gone
    this.#maxBytes = maxBytes
  }

  /** The body of a POST. JSON alone: what a web page may send to other sites without asking is refused. */
  async json(): Promise<Json> {
    const type = this.request.headers['content-type'] ?? ''
    if (!/^application\/json\b/i.test(type))
      throw new Failure(415, 'content-type must be application/json', { code: 'invalid_type' })
    const tooLarge = () =>
      new Failure(413, `the body must be at most ${this.#maxBytes} bytes`, { code: 'too_large' })
    if (Number(this.request.headers['content-length'] ?? 0) > this.#maxBytes) throw tooLarge()
    const parts: Buffer[] = []
    let bytes = 0
    for await (const part of this.request as AsyncIterable<Buffer>) {
      bytes += part.length
      if (bytes > this.#maxBytes) throw tooLarge()
      parts.push(part)
    }
    return parseBody(Buffer.concat(parts).toString('utf8'))
  }

  send(status: number, body: object, headers: Record<string, string> = {}): void {
    const text = JSON.stringify(body)
    this.response.writeHead(status, {
      'content-type': 'application/json; charset=utf-8',
      'content-length': Buffer.byteLength(text),
      ...headers,
    })
    this.response.end(text)
  }

  fail(failure: Failure): void {
    const { status, retryAfter } = failure
    const headers = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }
    this.send(status, failure.body, headers)
  }

  /** Writes one server-sent event; resolves when there is room for another. */
  async event(data: object | string): Promise<void> {
    const { response, gone } = this
    if (!response.headersSent)
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      })
    const text = typeof data === 'string' ? data : JSON.stringify(data)
    if (response.write(`data: ${text}\n\n`) || gone.aborted) return
    await new Promise<void>((resolve) => {
      const done = () => {
        response.off('drain', done)
        gone.removeEventListener('abort', done)
        resolve()
      }
      response.on('drain', done)
      gone.addEventListener('abort', done)
    })
  }
}
