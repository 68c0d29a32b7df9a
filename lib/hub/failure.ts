import { MoeError } from '../errors.ts'
import type { HubId } from '../hub_id.ts'
import { accessToken, endpoint } from './cache.ts'

/** The status that an error of `@huggingface/hub` has. */
const statusOf = (error: unknown): number | undefined =>
  (error as { statusCode?: number } | null)?.statusCode

/** Why a connection failed, as far down as it is said; the library ends streams with a text. */
function causeOf(error: unknown): string {
  if (typeof error === 'string') return error
  const { cause, code, message } = error as Error & { code?: string }
  return cause instanceof Error ? causeOf(cause) : (code ?? message)
}

/** Whether asking again may help. */
export const isPassing = (error: unknown): boolean =>
  !(error instanceof MoeError) && !isOurs(error) && ![401, 403, 404].includes(statusOf(error) ?? 0)

/** Whether the disk failed, and not the hub. */
const isOurs = (error: unknown): boolean =>
  /^E(NOSPC|DQUOT|ACCES|PERM|ROFS|IO|NOENT|NOTDIR|ISDIR|EXIST|MFILE|FBIG)$/.test(
    (error as NodeJS.ErrnoException | null)?.code ?? '',
  )

/** What went wrong between here and the hub, and what to do. */
export function hubFailure({ name, revision }: HubId, error: unknown): unknown {
  if (error instanceof MoeError) return error
  if (isOurs(error))
    return new MoeError(
      'ERR_MOE_HUB',
      `${name}: cache must be a folder that can be written, got ${(error as Error).message}; HF_HUB_CACHE names another`,
      { cause: error },
    )
  const status = statusOf(error)
  const at = `${name}: model must be one of ${endpoint()}`
  const known = accessToken() !== undefined
  if (status === 404)
    return new MoeError('ERR_MOE_HUB', `${at}, got no such model, or no revision ${revision}`, {
      cause: error,
    })
  if (status === 401 || status === 403)
    return new MoeError(
      'ERR_MOE_HUB',
      `${at} that can be read, got ${status}: there is none, or it is private or gated; ` +
        (known
          ? 'accept its terms on its page, by the account of HF_TOKEN'
          : 'accept its terms on its page, and set HF_TOKEN to a token of that account'),
      { cause: error },
    )
  if (status === undefined && error instanceof TypeError && /access token/i.test(error.message))
    return new MoeError(
      'ERR_MOE_HUB',
      `${name}: HF_TOKEN must be a token of the hub, got another`,
      {
        cause: error,
      },
    )
  const got = status === undefined ? causeOf(error) : `status ${status}`
  return new MoeError(
    'ERR_MOE_HUB',
    `${name}: ${endpoint()} must answer, got ${got}; run it again to go on where it was`,
    { cause: error },
  )
}
