import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Model } from '../model.ts'
import type { Json } from '../weights/json.ts'
import { Failure } from './failure.ts'
import { decodeBody, parseBody } from './fields.ts'
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
  /** Names of the body's fields, once it is read. */
  names: readonly string[] = []
  readonly #maxBytes: number
  #ended = false

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
    const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } =
      this.request.headers
    const bad = (what: string) => new Failure(415, what, { code: 'invalid_type' })
    if (!/^application\/json\s*(;|$)/i.test(type))
      throw bad('content-type must be application/json')
    const [, charset = 'utf-8'] = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(type) ?? []
    if (!/^utf-?8$/i.test(charset)) throw bad(`charset must be utf-8, got ${charset.slice(0, 80)}`)
    if (!/^identity$/i.test(encoding))
      throw bad(`content-encoding must be absent, got ${encoding.slice(0, 80)}`)
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
    const body = parseBody(decodeBody(Buffer.concat(parts)))
    this.names = Object.keys(body)
    return body
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
    const later = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }
    this.send(status, failure.body, { ...failure.headers, ...later })
  }

  /** Writes one server-sent event; resolves when there is room for another. */
  async event(data: object | string): Promise<void> {
    const { response, gone } = this
    if (this.#ended) return
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

  /** Writes the last event. What another choice says behind it is said to nobody. */
  async lastEvent(data: object | string): Promise<void> {
    const written = this.event(data)
    this.#ended = true
    await written
    this.response.end()
  }
}
