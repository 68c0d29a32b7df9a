import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { badOption, MoeError } from '../errors.ts'
import type { Model } from '../model.ts'
import type { OptionNames } from '../option_names.ts'
import { checkOptions, flagOption, numberOption } from '../options.ts'
import { chatCompletions } from './chat_completions.ts'
import { completions } from './completions.ts'
import { Exchange, type Served } from './exchange.ts'
import { Failure, failureOf } from './failure.ts'
import { health, modelOf, models, ready } from './health.ts'
import { metrics, showVersion } from './metrics.ts'
import { openapi } from './openapi.ts'
import { page } from './page.ts'
import { serving } from './serving.ts'
import { stats } from './stats.ts'
import { applyTemplate, detokenize, tokenize } from './tokens.ts'

/** Options of `serve`. */
export interface ServeOptions {
  /** Default 127.0.0.1: this machine alone. Any other needs `apiKey`, or `insecure`. */
  host?: string | undefined
  /** Default 8000; 0: any free one. */
  port?: number | undefined
  /** What the API calls the model. Default `moe-native`. */
  name?: string | undefined
  /** Requests must carry it as a bearer token; the routes of health need none. */
  apiKey?: string | undefined
  /** Listen beyond this machine without a key. */
  insecure?: boolean | undefined
  /** Largest body of a request. Default 8 MiB. */
  maxBodyBytes?: number | undefined
  /** Seconds that `close` waits for answers before it ends them. Default 30. */
  drainSeconds?: number | undefined
  /** `/metrics` has what vLLM has under its names as well, for routers that read those. */
  vllmMetrics?: boolean | undefined
  /** Called when a request has ended. */
  onRequest?: ((request: ServedRequest) => void) | undefined
}

/** What is told of a request that has ended. */
export interface ServedRequest {
  method: string
  path: string
  /** 499: the client has gone. */
  status: number
  ms: number
  /** What went wrong, for errors that are not the client's. */
  error?: unknown
}

/** A server that listens. */
export interface RunningServer {
  url: string
  /** Answers new requests with 503, waits for running ones, and closes. The model stays. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const optionNames: OptionNames<ServeOptions> = {
  ...{ host: true, port: true, name: true, apiKey: true, insecure: true },
  ...{ maxBodyBytes: true, drainSeconds: true, vllmMetrics: true, onRequest: true },
}

const loopback = /^(localhost|127(\.\d+){3}|\[?::1\]?)$/i
const text = (name: string, value: unknown): string =>
  typeof value === 'string' && value !== ''
    ? value
    : badOption('serve', name, 'a non-empty string', value)

type Handler = (exchange: Exchange, served: Served) => Promise<void> | void

/**
 * Checks and completes options; nothing in them depends on the model.
 *
 * @throws {MoeError} ERR_MOE_OPTION
 */
export function readServeOptions(options: ServeOptions) {
  checkOptions('serve', options, optionNames)
  const { apiKey, onRequest, name: givenName = 'moe-native', host: givenHost } = options
  const host = text('host', givenHost ?? '127.0.0.1')
  const key = apiKey === undefined ? undefined : text('apiKey', apiKey)
  if (key !== undefined && !/^[!-~]+$/.test(key))
    // not shown: it is a secret
    throw new MoeError(
      'ERR_MOE_OPTION',
      'serve: apiKey must be letters, digits and signs of ASCII, as a header carries it, got others, such as a space or the end of a line',
    )
  const insecure = flagOption('serve', 'insecure', options.insecure)
  const vllmMetrics = flagOption('serve', 'vllmMetrics', options.vllmMetrics)
  const local = loopback.test(host)
  if (!local && key === undefined && !insecure)
    badOption('serve', 'host', 'of this machine alone unless there is an apiKey, or insecure', host)
  const whole = (name: 'port' | 'maxBodyBytes' | 'drainSeconds', fallback: number, max: number) =>
    numberOption(name, options[name] ?? fallback, { min: 0, max, whole: true, where: 'serve' })
  const port = whole('port', 8000, 65535)
  const maxBytes = whole('maxBodyBytes', 8 << 20, 2 ** 30)
  const drainMs = 1000 * whole('drainSeconds', 30, 86400)
  if (onRequest !== undefined && typeof onRequest !== 'function')
    badOption('serve', 'onRequest', 'a function', onRequest)
  const name = text('name', givenName)
  return { host, local, port, key, name, maxBytes, drainMs, vllmMetrics, onRequest }
}

/**
 * Serves a model by OpenAI's protocol: chat and text completions, streamed or whole.
 *
 * @throws {MoeError} ERR_MOE_OPTION; and the system's error where the port cannot be had
 */
export async function serve(model: Model, options: ServeOptions = {}): Promise<RunningServer> {
  const asked = readServeOptions(options)
  const { host, local, port, key, name, maxBytes, drainMs, vllmMetrics, onRequest } = asked
  let draining = false
  const running = new Set<AbortController>()
  const served = serving(model, name, () => draining, vllmMetrics)
  const open: Readonly<Record<string, Handler>> = {
    ...{ 'GET /health': health, 'GET /ready': ready },
    ...page, // it asks for the key
  }
  const routes: Readonly<Record<string, Handler>> = {
    ...open,
    'GET /metrics': metrics,
    'GET /version': showVersion,
    'GET /openapi.json': openapi,
    'GET /v1/models': models,
    'GET /v1/stats': stats,
    'POST /v1/chat/completions': chatCompletions,
    'POST /v1/completions': completions,
    'POST /tokenize': tokenize,
    'POST /detokenize': detokenize,
    'POST /apply-template': applyTemplate,
  }

  /** A page of another site can make a browser send requests here under a name of its own. */
  const checkHost = ({ headers }: IncomingMessage): void => {
    const name = (headers.host ?? '').replace(/:\d+$/, '')
    if (local && !loopback.test(name))
      throw new Failure(403, 'the Host header must name this machine', { code: 'invalid_host' })
  }
  const digest = (value: string) => createHash('sha256').update(value).digest()
  const checkKey = ({ headers }: IncomingMessage): void => {
    if (key === undefined) return
    const [, token = ''] = /^Bearer (.*)$/i.exec(headers.authorization ?? '') ?? []
    if (!timingSafeEqual(digest(token), digest(key)))
      throw new Failure(401, 'the API key is missing or wrong', { code: 'invalid_api_key' })
  }
  const handlerOf = (method: string, path: string): [route: string, handler: Handler] => {
    const known = routes[`${method} ${path}`]
    if (known) return [path, known]
    if (method === 'GET' && path.startsWith('/v1/models/')) {
      const id = decoded(path.slice('/v1/models/'.length))
      return ['/v1/models/{id}', (exchange) => modelOf(exchange, served, id)]
    }
    const others = Object.keys(routes).filter((route) => route.endsWith(` ${path}`))
    const allow = others.map((route) => route.split(' ')[0]!.replace('GET', 'GET, HEAD')).join(', ')
    if (allow !== '')
      throw new Failure(405, `${method} is not a method of ${path}`, { headers: { allow } })
    throw new Failure(404, `there is no ${path.slice(0, 200)}`, { code: 'not_found' })
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const started = performance.now()
    // Node leaves out the body of an answer to HEAD.
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET')
    const path = (request.url ?? '/').replace(/[?#].*$/s, '')
    const abort = new AbortController()
    running.add(abort)
    response.on('error', () => {}) // a socket that cannot be written closes it, too
    response.once('close', () => abort.abort(new Error('the client has gone')))
    const exchange = new Exchange(request, response, abort.signal, maxBytes)
    let route = 'other'
    let failed: unknown
    try {
      checkHost(request)
      const [found, handler] = handlerOf(method, path)
      route = found
      if (!Object.hasOwn(open, `${method} ${path}`)) checkKey(request)
      if (draining) response.setHeader('connection', 'close')
      if (draining && method === 'POST')
        throw new Failure(503, 'the server is shutting down', { code: 'draining', retryAfter: 5 })
      await handler(exchange, served)
    } catch (error) {
      const failure = failureOf(error, exchange.names)
      // The end of a text whose client has gone is no failure.
      if (failure.status >= 500 && !abort.signal.aborted) failed = error
      if (!abort.signal.aborted) served.metrics.rejected.add({ reason: reasonOf(failure) })
      // A body that is not read to its end cannot be followed by another request.
      if (!request.complete && !response.headersSent) response.setHeader('connection', 'close')
      if (!response.headersSent && !abort.signal.aborted) exchange.fail(failure)
    } finally {
      const status = abort.signal.aborted && !response.writableEnded ? 499 : response.statusCode
      running.delete(abort)
      abort.abort() // what another choice of this request still does
      const ms = performance.now() - started
      served.metrics.request(route, method, status, ms)
      onRequest?.({ method, path, status, ms, ...(failed !== undefined && { error: failed }) })
    }
  }

  const server = createServer({ requestTimeout: 60_000, headersTimeout: 20_000 }, (...both) => {
    void handle(...both)
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuse(error, socket))
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject) // later ones are of single connections
    server.listen(port, host, resolve)
  })
  const { address, port: bound, family } = server.address() as AddressInfo
  const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`

  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= (async () => {
      draining = true
      const late = performance.now() + drainMs
      // Who comes meanwhile is told so.
      while (running.size > 0 && performance.now() < late)
        await new Promise((resolve) => setTimeout(resolve, 20))
      for (const abort of running) abort.abort(new Error('the server is shutting down'))
      const end = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await end
    })()
    return closed
  }
  return { url, close, [Symbol.asyncDispose]: close }
}

/** Answers what is no request, as Node does, but in the words of others. */
function refuse({ code }: NodeJS.ErrnoException, socket: Duplex): void {
  const [status, what] = Object.hasOwn(noRequests, code ?? '')
    ? noRequests[code!]!
    : [400, 'the request must be HTTP/1.1']
  const answered = (socket as Socket & { _httpMessage?: ServerResponse })._httpMessage?.headersSent
  if (socket.writable && !answered && code !== 'ECONNRESET') {
    const text = JSON.stringify(new Failure(status, what, { code: 'invalid_request' }).body)
    const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\n`
    const type = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}`
    socket.write(`${head}${type}\r\n\r\n${text}`)
  }
  socket.destroy()
}

/** By Node's code of the error. */
const noRequests: Readonly<Record<string, readonly [status: number, what: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'the headers must be at most 16 KiB'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'the chunk extensions must be shorter'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request must come within a minute'],
}

/** Why a request was refused, in few words: each is a series of its own. */
function reasonOf({ status, code }: Failure): string {
  const known = [
    'queue_full',
    'draining',
    'too_large',
    'invalid_api_key',
    'context_length_exceeded',
  ]
  if (code !== null && known.includes(code)) return code
  return status < 500 ? 'invalid' : 'error'
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
