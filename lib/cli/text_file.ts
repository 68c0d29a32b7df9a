import { createReadStream, statSync } from 'node:fs'
import { utf8 } from '../weights/json.ts'
import { UsageError } from './options.ts'

/** As long as a text may be; some files, such as /dev/zero, have no end. */
const maxBytes = 2 ** 28

async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of stream) {
    bytes += part.length
    if (bytes > maxBytes) throw new Error(`more than ${maxBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/**
 * A file as text, `-` as standard input.
 *
 * @param flag that names it, for the message
 * @throws {UsageError} where it is no UTF-8 text
 */
export async function readTextFile(
  flag: string,
  file: string,
  signal: AbortSignal,
): Promise<string> {
  signal.throwIfAborted()
  try {
    const stream = file === '-' ? process.stdin : createReadStream(file, { signal })
    const ended = new Promise<never>((_, reject) =>
      signal.addEventListener('abort', () => reject(signal.reason), { once: true }),
    )
    const bytes = await Promise.race([readAll(stream), ended])
    return utf8.decode(bytes)
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    const got = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message
    throw new UsageError(`${flag} must be a file of UTF-8 text, got ${got} for ${file}`)
  }
}

/**
 * Looks at a file that is read more than once, or written behind what it has: a pipe or a device is none. One of 0 bytes may
 * have no end, as those of /proc.
 *
 * @returns whether there is anything to read
 * @throws {UsageError} where it is no regular file
 */
export function hasBytes(file: string): boolean {
  const info = statSync(file)
  if (!info.isFile()) {
    const got = info.isDirectory() ? 'EISDIR' : 'a pipe or device'
    throw new UsageError(`${file}: must be a file, got ${got}`)
  }
  return info.size > 0
}
