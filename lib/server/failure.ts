import { MoeError, shown } from '../errors.ts'

/** A request's end in an error, in OpenAI's form. */
export class Failure extends Error {
  readonly status: number
  readonly type: string
  readonly param: string | null
  readonly code: string | null
  /** Seconds until it is worth another try. */
  readonly retryAfter: number | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    message: string,
    rest: Partial<Pick<Failure, 'type' | 'code' | 'retryAfter' | 'headers'>> & {
      param?: string
    } = {},
  ) {
    super(message)
    this.status = status
    this.type = rest.type ?? (status < 500 ? 'invalid_request_error' : 'server_error')
    this.param = rest.param ?? null
    this.code = rest.code ?? null
    this.retryAfter = rest.retryAfter
    this.headers = rest.headers ?? {}
  }

  get body(): object {
    const { message, type, param, code } = this
    return { error: { message, type, param, code } }
  }
}

/** `param` must be `expected`. */
export const badParam = (param: string, expected: string, got: unknown): never => {
  const value = got === undefined ? 'nothing' : shown(got)
  throw new Failure(400, `${param} must be ${expected}, got ${value}`, {
    param,
    code: 'invalid_value',
  })
}

export const unsupported = (param: string, why: string): never => {
  throw new Failure(400, `${param} is not supported: ${why}`, { param, code: 'unsupported' })
}

/** What the library calls otherwise than this API: the first one that the request has. */
const otherNames: Readonly<Record<string, readonly string[]>> = {
  maxNewTokens: ['max_completion_tokens', 'max_tokens', 'n_predict'],
  minNewTokens: ['min_tokens'],
  stopIds: ['stop_token_ids'],
  logprobs: ['top_logprobs'],
  allowedTokens: ['allowed_token_ids'],
  repetitionPenalty: ['repetition_penalty', 'repeat_penalty'],
  templateVariables: ['chat_template_kwargs'],
}
const snakeCase = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Where a constraint stands: vLLM has two places for each kind. */
function constraintName(index: string, given: readonly string[]): string {
  const guided = `guided_${index.slice(1)}`
  return given.includes(guided) ? guided : `structured_outputs${index}`
}

/** A library's sentence about an option in the words of the request. */
function inRequestWords(
  { message }: MoeError,
  given: readonly string[],
): [message: string, param: string | undefined] {
  const [, name, index = '', rest] = /^\w+: (\w+)(\S*) (must be .*)$/s.exec(message) ?? []
  if (name === undefined) return [message, undefined]
  const names = otherNames[name] ?? [snakeCase(name)]
  const param =
    name === 'constraint'
      ? constraintName(index, given)
      : `${names.find((one) => given.includes(one)) ?? names[0]}${index}`
  return [`${param} ${rest}`, param]
}

/**
 * What a thrown value answers a request with. What is no MoeError is told to nobody: it is a bug.
 *
 * @param given names of the request's fields
 */
export function failureOf(error: unknown, given: readonly string[] = []): Failure {
  if (error instanceof Failure) return error
  if (!(error instanceof MoeError)) return new Failure(500, 'internal error')
  const [message, param] = inRequestWords(error, given)
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
