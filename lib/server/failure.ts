import { MoeError } from '../errors.ts'

/** A request's end in an error, in OpenAI's form. */
export class Failure extends Error {
  readonly status: number
  readonly type: string
  readonly param: string | null
  readonly code: string | null
  /** Seconds until it is worth another try. */
  readonly retryAfter: number | undefined

  constructor(
    status: number,
    message: string,
    rest: { type?: string; param?: string; code?: string; retryAfter?: number } = {},
  ) {
    super(message)
    this.status = status
    this.type = rest.type ?? (status < 500 ? 'invalid_request_error' : 'server_error')
    this.param = rest.param ?? null
    this.code = rest.code ?? null
    this.retryAfter = rest.retryAfter
  }

  get body(): object {
    const { message, type, param, code } = this
    return { error: { message, type, param, code } }
  }
}

/** `param` must be `expected`. */
export const badParam = (param: string, expected: string, got: unknown): never => {
  const shown = typeof got === 'string' ? JSON.stringify(got.slice(0, 80)) : typeof got
  const value = typeof got === 'number' || typeof got === 'boolean' ? String(got) : shown
  throw new Failure(400, `${param} must be ${expected}, got ${value}`, {
    param,
    code: 'invalid_value',
  })
}

export const unsupported = (param: string, why: string): never => {
  throw new Failure(400, `${param} is not supported: ${why}`, { param, code: 'unsupported' })
}

/** What the library calls otherwise than this API. */
const otherNames: Readonly<Record<string, string>> = {
  maxNewTokens: 'max_tokens',
  minNewTokens: 'min_tokens',
  stopIds: 'stop_token_ids',
  logprobs: 'top_logprobs',
  allowedTokens: 'allowed_token_ids',
  constraint: 'structured_outputs',
}
const snakeCase = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** A library's sentence about an option in the words of the request. */
function inRequestWords({ message }: MoeError): [message: string, param: string | undefined] {
  const [, name, index = '', rest] = /^\w+: (\w+)(\S*) (must be .*)$/s.exec(message) ?? []
  if (name === undefined) return [message, undefined]
  const param = `${otherNames[name] ?? snakeCase(name)}${index}`
  return [`${param} ${rest}`, param]
}

/** What a thrown value answers a request with. What is no MoeError is told to nobody: it is a bug. */
export function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (!(error instanceof MoeError)) return new Failure(500, 'internal error')
  const [message, param] = inRequestWords(error)
  const rest = { ...(param !== undefined && { param }) }
  switch (error.code) {
    case 'ERR_MOE_OPTION':
      return new Failure(400, message, { ...rest, code: 'invalid_value' })
    case 'ERR_MOE_UNSUPPORTED':
      return new Failure(400, message, { ...rest, code: 'unsupported' })
    case 'ERR_MOE_CONTEXT_FULL':
      return new Failure(400, message, { ...rest, code: 'context_length_exceeded' })
    case 'ERR_MOE_BUSY':
      return new Failure(429, message, {
        type: 'rate_limit_error',
        code: 'queue_full',
        retryAfter: 1,
      })
    case 'ERR_MOE_DISPOSED':
    case 'ERR_MOE_OUT_OF_MEMORY':
      return new Failure(503, message, { code: error.code, retryAfter: 5 })
    default:
      return new Failure(500, message, { code: error.code })
  }
}
