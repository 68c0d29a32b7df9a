import { readFile } from 'node:fs/promises'
import { UsageError } from './options.ts'

async function readInput(): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of process.stdin as AsyncIterable<Buffer>) parts.push(part)
  return Buffer.concat(parts)
}

/** The file of --text as text, `-` as standard input. @throws {UsageError} where it is no UTF-8 text */
export async function readTextFile(file: string, signal: AbortSignal): Promise<string> {
  try {
    const bytes = file === '-' ? await readInput() : await readFile(file, { signal })
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    if (signal.aborted) throw signal.reason
    const got = (cause as NodeJS.ErrnoException).code ?? (cause as Error).message
    throw new UsageError(`--text must be a file of UTF-8 text, got ${got} for ${file}`)
  }
}
